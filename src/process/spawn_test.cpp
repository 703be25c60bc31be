#include "process/spawn.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/fd.h"

namespace rh::process {
namespace {

class SpawnTest : public ::testing::Test {
protected:
    SpawnTest() {
        std::string made = (std::filesystem::temp_directory_path() / "rh-spawn-XXXXXX").string();
        folder_ = ::mkdtemp(made.data());
    }
    ~SpawnTest() override { std::filesystem::remove_all(folder_); }

    Command command(std::vector<std::string> argv) const {
        Command made;
        made.argv = std::move(argv);
        made.env = {"PATH=/usr/bin:/bin", "GREETING=hello"};
        made.cwd = folder_;
        made.stdout_path = folder_ + "/out";
        made.stderr_path = folder_ + "/err";
        return made;
    }
    Command shell(const std::string& script) const { return command({"sh", "-c", script}); }

    std::string run(const Command& of) {
        const auto pid = spawn(of);
        EXPECT_TRUE(pid) << pid.error().message;
        if (!pid) return {};
        EXPECT_EQ(::waitpid(*pid, &status_, 0), *pid);
        return text("out");
    }
    std::string text(const std::string& name) const {
        std::ifstream file(folder_ + "/" + name);
        std::ostringstream all;
        all << file.rdbuf();
        return all.str();
    }

    std::string folder_;
    int status_ = 0;
};

TEST_F(SpawnTest, RunsAProgramFoundInItsOwnPathWithItsOwnEnvironmentAndFolder) {
    EXPECT_EQ(run(shell("echo $GREETING; pwd; echo oops >&2; exit 3")), "hello\n" + folder_ + "\n");
    EXPECT_EQ(text("err"), "oops\n");
    EXPECT_EQ(WEXITSTATUS(status_), 3);
    struct stat out {};
    ASSERT_EQ(::stat((folder_ + "/out").c_str(), &out), 0);
    EXPECT_EQ(out.st_mode & 0777u, 0600u);
}

TEST_F(SpawnTest, AppendsToAFileThatIsThere) {
    run(shell("echo first"));
    EXPECT_EQ(run(shell("echo second")), "first\nsecond\n");
}

TEST_F(SpawnTest, GivesTheChildASessionDefaultSignalsAndNothingElse) {
    struct sigaction ignore {}, before {};
    ignore.sa_handler = SIG_IGN;
    ::sigaction(SIGUSR1, &ignore, &before);
    sigset_t blocked, mask_before;
    ::sigemptyset(&blocked);
    ::sigaddset(&blocked, SIGUSR2);
    ::sigprocmask(SIG_BLOCK, &blocked, &mask_before);
    const int leaked = ::fcntl(STDERR_FILENO, F_DUPFD, 20);  // without FD_CLOEXEC
    const std::string out = run(shell("grep -E '^(SigBlk|SigIgn)' /proc/self/status; ls /proc/$$/fd; readlink /proc/$$/fd/0; "
                                      "cut -d' ' -f6 /proc/$$/stat; echo $$"));
    ::close(leaked);
    ::sigprocmask(SIG_SETMASK, &mask_before, nullptr);
    ::sigaction(SIGUSR1, &before, nullptr);
    std::istringstream lines(out);
    std::string line;
    std::getline(lines, line);
    EXPECT_EQ(line, "SigBlk:\t0000000000000000");
    std::getline(lines, line);
    // 32 and 33 are the C library's own: what was inherited for them it lets nobody change.
    constexpr std::uint64_t k_libc_signals = std::uint64_t{3} << 31;
    EXPECT_EQ(line.substr(0, 8), "SigIgn:\t");
    EXPECT_EQ(std::stoull(line.substr(8), nullptr, 16) & ~k_libc_signals, 0u) << line;
    for (const char* expected : {"0", "1", "2", "/dev/null"}) {
        std::getline(lines, line);
        EXPECT_EQ(line, expected) << out;
    }
    std::string session, pid;
    std::getline(lines, session);
    std::getline(lines, pid);
    EXPECT_EQ(session, pid);
}

TEST_F(SpawnTest, HandsOverOneDescriptorAsNumberThree) {
    int ends[2];
    ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    const Fd from(ends[0]);
    const Fd to(ends[1]);
    Command talk = shell("echo hello >&3");
    talk.inherited_fd = to.get();
    run(talk);
    char text[6] = {};
    EXPECT_EQ(::read(from.get(), text, 6), 6);
    EXPECT_EQ(std::string(text, 6), "hello\n");
}

TEST_F(SpawnTest, SaysWhichProgramFolderOrFileWasRefused) {
    const auto refused = [&](const Command& wrong, const std::string& message, int error_number) {
        const auto result = spawn(wrong);
        ASSERT_FALSE(result);
        EXPECT_EQ(result.error().code, Code::io);
        EXPECT_NE(result.error().message.find(message), std::string::npos) << result.error().message;
        EXPECT_EQ(result.error().fact("errno"), std::to_string(error_number));
    };
    refused(command({"/no/such/python"}), "cannot run /no/such/python: No such file or directory", ENOENT);
    refused(command({"no-such-program"}), "cannot run no-such-program: No such file", ENOENT);
    std::ofstream(folder_ + "/plain") << "no program";
    refused(command({"./plain"}), "cannot run ./plain: Permission denied", EACCES);
    refused(command({""}), "cannot run", ENOENT);
    refused(command({}), "without a name", EINVAL);
    Command nowhere = shell("true");
    nowhere.cwd = "/no/such/folder";
    refused(nowhere, "in the folder /no/such/folder: No such file", ENOENT);
    Command unwritable = shell("true");
    unwritable.stdout_path = "/no/such/folder/out";
    refused(unwritable, "to /no/such/folder/out: No such file", ENOENT);
    Command huge = shell("true");
    huge.env.push_back("HUGE=" + std::string(8 << 20, 'x'));
    refused(huge, "cannot run sh: Argument list too long", E2BIG);
    EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1) << "a failed child was not reaped";
}

TEST_F(SpawnTest, KeepsTheChildOnItsCpus) {
    cpu_set_t here;
    ASSERT_EQ(::sched_getaffinity(0, sizeof here, &here), 0);
    int last = 0;
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) last = CPU_ISSET(cpu, &here) ? cpu : last;
    Command on_one = shell("grep Cpus_allowed_list /proc/self/status");
    on_one.cpus = {last};
    EXPECT_EQ(run(on_one), "Cpus_allowed_list:\t" + std::to_string(last) + "\n");
    on_one.cpus = {100'000};
    const auto refused = spawn(on_one);
    ASSERT_FALSE(refused);
    EXPECT_NE(refused.error().message.find("cannot keep sh on the 1 CPUs"), std::string::npos) << refused.error().message;
}

// A plain file here; in a cgroup the kernel takes what is written for whoever writes it.
TEST_F(SpawnTest, JoinsACgroupBeforeTheProgramBegins) {
    Command inside = shell("cat procs");
    inside.cgroup_procs = folder_ + "/procs";
    std::ofstream(inside.cgroup_procs).close();
    EXPECT_EQ(run(inside), "0");
    inside.cgroup_procs = folder_ + "/gone/procs";
    const auto refused = spawn(inside);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().fact("step"), "cgroup");
    EXPECT_EQ(refused.error().message, "cannot put sh into the cgroup of " + folder_ + "/gone/procs: No such file or directory");
}

TEST_F(SpawnTest, DiesWithItsParent) {
    int ends[2];
    ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    const pid_t parent = ::fork();
    if (parent == 0) {
        const auto pid = spawn(shell("sleep 60"));
        const pid_t number = pid ? *pid : 0;
        [[maybe_unused]] const auto written = ::write(ends[1], &number, sizeof number);
        ::pause();
    }
    pid_t child = 0;
    ASSERT_EQ(::read(ends[0], &child, sizeof child), static_cast<ssize_t>(sizeof child));
    ASSERT_GT(child, 0);
    ::kill(parent, SIGKILL);
    ::waitpid(parent, nullptr, 0);
    // The orphan ends at once; whoever reaps it on this machine takes a moment.
    const std::string stat = "/proc/" + std::to_string(child) + "/stat";
    bool ended = false;
    for (int i = 0; i < 500 && !ended; ++i) {
        std::ifstream file(stat);
        std::string line;
        ended = !std::getline(file, line) || line.find(") Z") != line.npos;
        if (!ended) ::usleep(10'000);
    }
    EXPECT_TRUE(ended);
    ::close(ends[0]);
    ::close(ends[1]);
}

TEST(WithoutMarks, KeepsWhatANodeIsLaunchedWith) {
    EXPECT_EQ(without_marks({"ROUNDHOUSE_NODE=/x", "A=1", "ROUNDHOUSE_CPUS=2", "ROUNDHOUSE_CPUSET=3", "ROUNDHOUSE_MEMORY="}),
              (std::vector<std::string>{"A=1", "ROUNDHOUSE_CPUS=2", "ROUNDHOUSE_MEMORY="}));
}

TEST(WithoutPrefix, RemovesWhatBelongsToAnotherNode) {
    EXPECT_EQ(without_prefix({"A=1", "ROUNDHOUSE_NODE=x", "ROUNDHOUSE_WORKER=w", "B=ROUNDHOUSE_"}, "ROUNDHOUSE_"),
              (std::vector<std::string>{"A=1", "B=ROUNDHOUSE_"}));
}

}  // namespace
}  // namespace rh::process
