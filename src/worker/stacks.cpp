#include "worker/stacks.h"

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <dirent.h>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <semaphore.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <utility>

#include "base/limits.h"
#include "worker/frames.h"

namespace rh::worker {

namespace {

using Json = nlohmann::json;

#ifdef __linux__

// In the memory that each thread has from its beginning, because a signal's handler reads it, which may not allocate.
[[gnu::tls_model("initial-exec")]] thread_local std::uint64_t t_call = 0;

// What a thread is asked to fill in. One that does not answer in time keeps its question, which its handler may find yet.
struct Question {
    Question() { ::sem_init(&answered, 0, 0); }
    ~Question() { ::sem_destroy(&answered); }
    Question(const Question&) = delete;
    Question& operator=(const Question&) = delete;

    Frames frames;
    std::uint64_t call = 0;
    sem_t answered;
};

void on_question(int, siginfo_t* about, void* context) {
    if (about->si_code != SI_QUEUE || about->si_pid != ::getpid()) return;
    const int before = errno;
    auto* const question = static_cast<Question*>(about->si_value.sival_ptr);
    question->call = t_call;
    take_frames(question->frames, context);
    ::sem_post(&question->answered);
    errno = before;
}

// A signal that nobody here uses, with our handler; 0 where there is none. It stays ours: a question that comes late would
// otherwise end the process.
int our_signal() {
    static const int number = [] {
        prepare_frames();
        for (int candidate = SIGRTMAX - 1; candidate > SIGRTMIN; --candidate) {
            struct sigaction before {};
            if (::sigaction(candidate, nullptr, &before) != 0 || (before.sa_flags & SA_SIGINFO) != 0 || before.sa_handler != SIG_DFL) continue;
            struct sigaction action {};
            action.sa_sigaction = on_question;
            action.sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK;
            ::sigfillset(&action.sa_mask);
            if (::sigaction(candidate, &action, nullptr) == 0) return candidate;
        }
        return 0;
    }();
    return number;
}

bool send(pid_t thread, int number, Question& question) {
    siginfo_t about{};
    about.si_code = SI_QUEUE;
    about.si_pid = ::getpid();
    about.si_uid = ::getuid();
    about.si_value.sival_ptr = &question;
    return ::syscall(SYS_rt_tgsigqueueinfo, ::getpid(), thread, number, &about) == 0;
}

timespec in(std::chrono::nanoseconds wait) {
    timespec until{};
    ::clock_gettime(CLOCK_REALTIME, &until);
    const auto nanoseconds = wait.count() + until.tv_nsec;
    until.tv_sec += nanoseconds / 1'000'000'000;
    until.tv_nsec = nanoseconds % 1'000'000'000;
    return until;
}

bool has_answered(Question& question, const timespec& until) {
    int result = 0;
    while ((result = ::sem_timedwait(&question.answered, &until)) != 0 && errno == EINTR) {}
    return result == 0;
}

std::vector<pid_t> threads() {
    std::vector<pid_t> found;
    DIR* const folder = ::opendir("/proc/self/task");
    if (folder == nullptr) return found;
    while (const dirent* const entry = ::readdir(folder)) {
        const auto thread = static_cast<pid_t>(std::strtol(entry->d_name, nullptr, 10));
        if (thread > 0 && thread != ::syscall(SYS_gettid)) found.push_back(thread);
    }
    ::closedir(folder);
    return found;
}

std::string name_of(pid_t thread) {
    std::array<char, 32> name{};
    FILE* const file = std::fopen(("/proc/self/task/" + std::to_string(thread) + "/comm").c_str(), "re");
    if (file == nullptr) return "";
    const std::size_t size = std::fread(name.data(), 1, name.size(), file);
    std::fclose(file);
    return {name.data(), size > 0 && name[size - 1] == '\n' ? size - 1 : size};
}

// All at once, by a copy of the process: where a thread that waits holds the lock of the allocator or the loader, this one must not
// wait for it as well.
using Questions = std::vector<std::unique_ptr<Question>>;
void write_all(Text& text, void* with) {
    for (const auto& question : *static_cast<const Questions*>(with)) {
        if (question != nullptr) write_frames(text, question->frames.below_signal(), true);
        text << "\x01";
    }
}

}  // namespace

void mark_running(std::uint64_t call) { t_call = call; }

std::vector<NativeStack> native_stacks() {
    static std::map<pid_t, std::unique_ptr<Question>> late;
    std::vector<NativeStack> stacks;
    Questions questions;
    const int number = our_signal();
    for (const pid_t thread : threads()) {
        if (stacks.size() == limits::k_stack_threads_max) break;
        NativeStack& stack = stacks.emplace_back();
        stack.thread = static_cast<std::uint64_t>(thread);
        stack.name = name_of(thread);
        questions.emplace_back();
        if (number == 0) continue;
        // Of before, which has come by now, or still waits: no second is put behind it.
        if (const auto found = late.find(thread); found != late.end()) {
            if (::sem_trywait(&found->second->answered) != 0) continue;
            late.erase(found);
        }
        auto question = std::make_unique<Question>();
        if (send(thread, number, *question)) questions.back() = std::move(question);
    }
    const timespec until = in(limits::k_stack_threads_wait);
    for (std::size_t i = 0; i < stacks.size(); ++i) {
        if (questions[i] == nullptr) continue;
        if (has_answered(*questions[i], until)) {
            stacks[i].call = questions[i]->call;
        } else {
            late[static_cast<pid_t>(stacks[i].thread)] = std::move(questions[i]);
        }
    }
    std::vector<char> text(limits::k_stack_bytes_max);
    const std::size_t size = written_by_copy(text, limits::k_stack_naming_wait, write_all, &questions);
    std::string_view left(text.data(), size);
    for (NativeStack& stack : stacks) {
        const auto end = left.find('\x01');
        if (end == left.npos) break;
        stack.frames = left.substr(0, end);
        left.remove_prefix(end + 1);
    }
    return stacks;
}

#else

}  // namespace

void mark_running(std::uint64_t) {}

std::vector<NativeStack> native_stacks() { return {}; }

#endif

void StackTeller::ask(std::uint64_t id) {
    {
        const std::lock_guard lock(mutex_);
        if (!stopping_ && asked_.size() < limits::k_stack_questions_max) {
            asked_.push_back(id);
            if (!thread_.joinable()) thread_ = std::thread([this] { work(); });
            wake_.notify_one();
            return;
        }
    }
    answer_(id, Outcome::failed(Error(Code::limit_exceeded, "the stacks of this worker are being asked for already: wait for those")));
}

void StackTeller::stop() {
    std::thread thread;
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
        thread.swap(thread_);
        wake_.notify_one();
    }
    if (thread.joinable()) thread.join();
}

void StackTeller::work() {
    for (;;) {
        std::uint64_t id = 0;
        {
            std::unique_lock lock(mutex_);
            wake_.wait(lock, [this] { return stopping_ || !asked_.empty(); });
            if (stopping_) return;
            id = asked_.front();
            asked_.pop_front();
        }
        // The language first: the signals end what sleeps, in code that does not look for that.
        Json told = Json::parse(language_(), nullptr, false);
        if (!told.is_object()) told = Json::object();
        Json native = Json::array();
        for (NativeStack& stack : native_stacks()) native.push_back({{"thread", stack.thread}, {"name", stack.name}, {"call", stack.call}, {"frames", stack.frames}});
        told["native"] = std::move(native);
        answer_(id, Outcome::returned(Body::one(Encoding::json, as_byte_view(told.dump(-1, ' ', false, Json::error_handler_t::replace)))));
    }
}

}  // namespace rh::worker
