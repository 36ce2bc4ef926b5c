#pragma once
// Work on a thread of its own (never libuv's shared pool, which file and name look-ups need) that settles a promise.
#include <napi.h>

#include <functional>
#include <thread>

#include "convert.h"

namespace nibble::addon {

/// Runs `work` on a new thread; when it is done, `settle` runs on the event loop and returns the promise's value, or
/// sets `status` to reject it. `keep` is referenced meanwhile (an object that the work uses), or empty.
template <class Result>
Napi::Promise run_in_background(Napi::Env env, const char* name, Napi::ObjectReference&& keep,
                                std::function<Status(Result&)> work,
                                std::function<Napi::Value(Napi::Env, Result&)> settle) {
  struct Context {
    Napi::Promise::Deferred deferred;
    Napi::ObjectReference keep;
    std::function<Status(Result&)> work;
    std::function<Napi::Value(Napi::Env, Result&)> settle;
    Result result{};
    Status status;
    std::thread thread;

    /// Environment clean-up: the work ends before anything that it reports through is gone.
    static void join(void* self) {
      auto* context = static_cast<Context*>(self);
      if (context->thread.joinable()) context->thread.join();
    }
  };
  auto* context =
      new Context{Napi::Promise::Deferred::New(env), std::move(keep), std::move(work), std::move(settle), {}, {}, {}};
  const Napi::Promise promise = context->deferred.Promise();
  auto done = Napi::ThreadSafeFunction::New(env, Napi::Function::New(env, [](const Napi::CallbackInfo&) {}), name, 0, 1,
                                            [context](Napi::Env finalizer_env) {
                                              napi_remove_env_cleanup_hook(finalizer_env, Context::join, context);
                                              Context::join(context);
                                              delete context;
                                            });
  context->thread = std::thread([context, done] {
    context->status = guard([context] { return context->work(context->result); });
    done.BlockingCall(context, [](Napi::Env callback_env, Napi::Function, Context* c) {
      const Napi::HandleScope scope(callback_env);
      if (!c->status.ok()) {
        c->deferred.Reject(error_value(callback_env, c->status));
      } else {
        const Napi::Value value = c->settle(callback_env, c->result);
        if (c->status.ok()) c->deferred.Resolve(value);
      }
    });
    const_cast<Napi::ThreadSafeFunction&>(done).Release();
  });
  // At process.exit, thread-safe functions go while the work may still want to report. Hooks run in reverse order, so
  // this one runs before theirs.
  napi_add_env_cleanup_hook(env, Context::join, context);
  return promise;
}

}  // namespace nibble::addon
