# What `make install` places where. Filled below by component: runtime, library, development.
