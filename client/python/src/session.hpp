// Session and Space as Python objects: shared, so that a call that waits without the GIL keeps what
// it uses.
#pragma once

#include "client/python/src/common.hpp"

namespace kvtier::python {

class PySession {
 public:
  explicit PySession(std::shared_ptr<Session> session) : session_(std::move(session)) {}

  // Throws when closed.
  std::shared_ptr<Session> get() const {
    if (session_ == nullptr) throw WrongUse(Code::kInvalidArgument, "the session is closed");
    return session_;
  }
  bool closed() const { return session_ == nullptr; }
  void close();

 private:
  std::shared_ptr<Session> session_;
};

// Destroys a session without the GIL: its thread is joined.
std::shared_ptr<Session> shared_session(std::unique_ptr<Session> session);

class PySpace {
 public:
  PySpace(std::shared_ptr<PySession> owner, std::shared_ptr<Space> space)
      : owner_(std::move(owner)), space_(std::move(space)) {}

  // A space together with what keeps it usable during a call.
  struct Use {
    std::shared_ptr<Session> session;
    std::shared_ptr<Space> space;
    const Space* operator->() const { return space.get(); }
  };
  Use use() const { return {owner_->get(), space_}; }
  const SpaceSpec& spec() const { return space_->spec(); }

 private:
  std::shared_ptr<PySession> owner_;
  std::shared_ptr<Space> space_;
};

}  // namespace kvtier::python
