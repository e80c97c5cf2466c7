#!/bin/sh
# Runs a command with address randomisation off where the machine allows it, else as it is.
# Thread sanitizers older than 2024 refuse to start with more than 28 random bits.
if setarch "$(uname -m)" -R true 2>/dev/null; then
  exec setarch "$(uname -m)" -R "$@"
fi
exec "$@"
