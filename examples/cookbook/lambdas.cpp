/* SPDX-License-Identifier: MIT */
/*
 * lambdas: a task whose work and completion are C++ lambdas. The completion is given a future, so
 * that a result has any type, and what the work throws arrives here.
 */
#include <cstdio>
#include <future>
#include <memory>
#include <stdexcept>
#include <string>
#include <type_traits>

#include "strait.h"

template <typename Work, typename Done> struct Job {
    std::packaged_task<std::invoke_result_t<Work &>()> work;
    Done done;
};

/* Runs `work` on a worker, then `done(future)` here, which must not throw; the future is ready:
 * what `work` returned or threw, or std::future_error if it never ran. -errno: neither will run. */
template <typename Work, typename Done> int submit(strait_parent *parent, Work work, Done done)
{
    using Own = Job<Work, Done>;
    auto job = std::unique_ptr<Own>(new Own{decltype(Own::work)(std::move(work)), std::move(done)});
    strait_task task{};
    task.context = job.get();
    task.run = [](strait_task *running) noexcept {
        static_cast<Own *>(running->context)->work();
        return 0;
    };
    task.done = [](strait_task *over) noexcept {
        std::unique_ptr<Own> own(static_cast<Own *>(over->context));
        auto future = own->work.get_future();
        own->work = {}; /* breaks the promise of what was cancelled or abandoned */
        own->done(std::move(future));
    };
    int error = strait_task_submit(parent, &task, nullptr, nullptr);
    if (!error) {
        job.release(); /* the completion's now, which always comes */
    }
    return error;
}

int main()
{
    strait_pool *pool;
    strait_parent *parent;                /* this thread, as the pool knows it */
    std::string name = "strait", said[2]; /* either may be done first */
    auto into = [](std::string &where) {
        return [&where](std::future<std::string> result) {
            try {
                where = result.get();
            } catch (const std::exception &thrown) {
                where = thrown.what();
            }
        };
    };
    if (strait_pool_create(&pool, nullptr) || strait_pool_attach(pool, &parent, nullptr)) {
        return 1;
    }
    auto fail = []() -> std::string { throw std::runtime_error("no more"); };
    int error = submit(
        parent, [name] { return "hello " + name; }, into(said[0]));
    error |= submit(parent, fail, into(said[1]));
    error |= strait_pool_finish(pool, parent, STRAIT_CLOSE_DRAIN, STRAIT_FOREVER);
    std::printf("%s, and %s\n", said[0].c_str(), said[1].c_str());
    return error || said[0] != "hello strait" || said[1] != "no more";
}
