// SPDX-License-Identifier: MIT
// The floor of a wake-up through a file descriptor: an eventfd, written and read.
#include <sys/eventfd.h>
#include <unistd.h>

#include "candidates/table.h"

namespace bench
{
namespace
{

class EventFd : public Sleeper
{
  public:
    explicit EventFd(int fd) : fd_(fd)
    {
    }

    ~EventFd() override
    {
        close(fd_);
    }

    void wake(uint64_t) override
    {
        uint64_t one = 1;
        if (write(fd_, &one, sizeof(one)) != sizeof(one)) {
            return; // the other side will be missed
        }
    }

    uint64_t sleep() override
    {
        uint64_t count;
        if (read(fd_, &count, sizeof(count)) != sizeof(count)) {
            return 0;
        }
        return seen_ += count;
    }

  private:
    int fd_;
    uint64_t seen_ = 0;
};

} // namespace

std::unique_ptr<Sleeper> make_eventfd_sleeper()
{
    int fd = eventfd(0, EFD_CLOEXEC);
    return fd < 0 ? nullptr : std::make_unique<EventFd>(fd);
}

} // namespace bench
