// SPDX-License-Identifier: MIT
// team: what has to be offered to be a candidate for real work: a pool of several workers, any
// number of parents that share them, and tasks that fork.
#ifndef BENCH_TEAM_H
#define BENCH_TEAM_H

#include "candidates/latch.h"
#include "candidates/runner.h"

namespace bench
{

struct TeamShape {
    unsigned workers;
    std::vector<int> cpus; // that the process may use
    uint64_t queue = 0;    // tasks of one parent that are not done, at most; 0: any default
};

// That every workload but `create` has: libuv's pool can be of one size only in a process.
constexpr unsigned kTeamWorkers = 2;

class Team
{
  public:
    // Pinned: worker n to the n-th CPU, in turn; else all may run anywhere.
    Team(const TeamShape &shape, bool pinned) : shape_(shape), pinned_(pinned)
    {
    }

    virtual ~Team() = default;
    Team(const Team &) = delete;
    Team &operator=(const Team &) = delete;

    // Makes the calling thread a parent, in its loop: it sleeps in wait(). It ends before the team
    // does. Null: not to be had.
    virtual std::unique_ptr<Runner> attach(const Job &job) = 0;

    // Calls run(context) on a worker and tells nobody; from any thread, from tasks too. False: the
    // pool has nothing of the kind.
    virtual bool post(void (*run)(void *), void *context);

    // Has so many parents that submit nothing. False: parents are unknown to the pool.
    virtual bool set_idle_parents(size_t n);

    // Returns when every worker runs: as many tasks as workers meet. False: they cannot.
    virtual bool assemble();

    // Has run(context) called n times by tasks; finish_all() sleeps until the last has returned.
    // By default a latch tells it.
    virtual bool start_all(void (*run)(void *), void *context, uint64_t n);
    virtual bool finish_all();

    // Fork and join, all of it within tasks. By default a task never waits: it posts what it forks,
    // and the last one of two that are to be joined goes on.
    virtual bool fib(unsigned n, uint64_t &result);
    virtual bool sort(int *first, int *last);
    virtual bool sum(const double *first, const double *last, double &result);

  protected:
    // On a worker, before each task, to send it where it belongs, once; of the number-th worker, or
    // of the next one.
    void place(unsigned number);
    void place();

    uint64_t queue() const
    {
        return shape_.queue > 0 ? shape_.queue : Runner::kLimit;
    }

    const TeamShape shape_;
    const bool pinned_;

  private:
    struct Call {
        void (*run)(void *);
        void *context;
        Latch *latch;
    };

    static void call(void *context);

    const uint64_t id_ = next_id();
    std::atomic<unsigned> placed_{0};
    Call all_ = {};
    Latch latch_;

    static uint64_t next_id();
};

struct TeamMaker {
    std::string name;
    std::function<std::unique_ptr<Team>(const TeamShape &shape)> make; // null: cannot be had
    const char *note; // what it promises less or more, and who spins; null: nothing
    enum Parents { loop, park } parents = loop; // sleep as in an event loop, or without one
    bool lone = false;     // one for the process, of kTeamWorkers, and no task can have tasks run
    bool has_idle = false; // set_idle_parents
};

// With `make(shape, arguments...)`.
template <class T, class... Arguments>
std::function<std::unique_ptr<Team>(const TeamShape &)> team_maker(Arguments... arguments)
{
    return [=](const TeamShape &shape) -> std::unique_ptr<Team> {
        try {
            return std::make_unique<T>(shape, arguments...);
        } catch (const std::exception &) {
            return nullptr;
        }
    };
}

// Both ways to place a peer's workers: who reads the table takes the better.
template <class T>
void add_team(std::vector<TeamMaker> &teams, const std::string &name, const char *note,
              bool lone = false)
{
    teams.push_back({name + ".pinned", team_maker<T>(true), note, TeamMaker::loop, lone});
    teams.push_back({name + ".free", team_maker<T>(false), note, TeamMaker::loop, lone});
}

} // namespace bench

#endif // BENCH_TEAM_H
