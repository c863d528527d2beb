// Workers of a fuzzing program.  workers.hpp says what comes in and goes out.
#include "workers.hpp"

#include <signal.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

namespace convpp::stress {
namespace {

// Of the case that is tried: a signal handler may read nothing else.
std::atomic<int64_t> current{-1}, seen{-1};
std::atomic<uint64_t> current_seed{0};

void write_number(uint64_t value) {
    char digits[24];
    size_t at = sizeof digits;
    do {
        digits[--at] = static_cast<char>('0' + value % 10);
        value /= 10;
    } while (value != 0);
    static_cast<void>(!write(STDERR_FILENO, digits + at, sizeof digits - at));
}

void write_text(const char* text) { static_cast<void>(!write(STDERR_FILENO, text, std::strlen(text))); }

void say_case(const char* what) {
    write_text(what);
    write_text(": --seed ");
    write_number(current_seed.load());
    write_text(" --first ");
    write_number(static_cast<uint64_t>(current.load()));
    write_text(" --count 1\n");
}

void on_crash(int signal) {
    say_case(signal == SIGABRT  ? "aborted"
             : signal == SIGFPE ? "arithmetic trap"
                                : "touched a page that is not its own");
    _exit(2);
}

void on_tick(int) {
    const int64_t now = current.load();
    if (now == seen.load()) {
        say_case("takes too long");
        _exit(3);
    }
    seen.store(now);
}

void watch(double seconds) {
    struct sigaction action{};
    action.sa_handler = on_tick;
    sigaction(SIGALRM, &action, nullptr);
    itimerval timer{};
    timer.it_value.tv_sec = timer.it_interval.tv_sec = static_cast<time_t>(seconds);
    setitimer(ITIMER_REAL, &timer, nullptr);
#if !defined(__SANITIZE_ADDRESS__)
    action.sa_handler = on_crash;
    action.sa_flags = SA_RESETHAND;
    for (const int signal : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT}) sigaction(signal, &action, nullptr);
#endif
}

bool is(const char* text, const char* name) { return std::strcmp(text, name) == 0; }

}  // namespace

int try_all(const Arguments& arguments, double seconds_of_hang, const TryCase& try_case) {
    constexpr int most_said = 20;
    int wrong = 0;
    current_seed.store(arguments.seed);
    watch(seconds_of_hang);
    const int64_t end = arguments.first + arguments.count;
    for (int64_t i = arguments.first + std::max(arguments.worker, 0); i < end; i += arguments.workers) {
        current.store(i);
        const std::string what = try_case(i);
        if (what.empty()) continue;
        std::fprintf(stderr, "--seed %llu --first %lld --count 1: %s\n",
                     static_cast<unsigned long long>(arguments.seed), static_cast<long long>(i), what.c_str());
        if (++wrong == most_said) break;
    }
    return wrong == 0 ? 0 : 1;
}

int run_workers(int argc, char** argv, int64_t default_count, const std::function<int(const Arguments&)>& work) {
    Arguments arguments;
    arguments.count = default_count;
    for (int i = 1; i < argc; i += 2) {
        const char* const value = i + 1 < argc ? argv[i + 1] : "";
        char* end = nullptr;
        const long long number = std::strtoll(value, &end, 10);
        const bool known = is(argv[i], "--seed") || is(argv[i], "--first") || is(argv[i], "--count") ||
                           is(argv[i], "--workers") || is(argv[i], "--worker");
        if (!known || *value == '\0' || *end != '\0') {
            std::fprintf(stderr, "%s [--seed S] [--first I] [--count N] [--workers W]\n", argv[0]);
            return 64;
        }
        if (is(argv[i], "--seed")) arguments.seed = static_cast<uint64_t>(number);
        if (is(argv[i], "--first")) arguments.first = number;
        if (is(argv[i], "--count")) arguments.count = number;
        if (is(argv[i], "--workers")) arguments.workers = static_cast<int>(number);
        if (is(argv[i], "--worker")) arguments.worker = static_cast<int>(number);
    }
    if (arguments.workers == 1 || arguments.worker >= 0) return work(arguments);
    std::vector<pid_t> children;
    for (int worker = 0; worker < arguments.workers; ++worker) {
        const pid_t child = fork();
        if (child == 0) {
            const std::string number = std::to_string(worker);
            std::vector<char*> with(argv, argv + argc);
            std::string option = "--worker", value = number;
            with.push_back(option.data());
            with.push_back(value.data());
            with.push_back(nullptr);
            execv("/proc/self/exe", with.data());
            _exit(65);
        }
        children.push_back(child);
    }
    int result = 0;
    for (const pid_t child : children) {
        int status = 0;
        if (child < 0 || waitpid(child, &status, 0) != child) result = 66;
        else if (WIFSIGNALED(status)) result = 128 + WTERMSIG(status);
        else if (WEXITSTATUS(status) != 0) result = WEXITSTATUS(status);
    }
    return result;
}

}  // namespace convpp::stress
