#include "sdk/crash.h"

#include <array>
#include <atomic>
#include <cstddef>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <cxxabi.h>
#include <dlfcn.h>
#include <elf.h>
#include <exception>
#include <execinfo.h>
#include <fcntl.h>
#include <link.h>
#include <memory>
#include <poll.h>
#include <span>
#include <string_view>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>
#include <utility>

namespace rh {

namespace {

constexpr std::array k_signals{SIGSEGV, SIGABRT, SIGBUS, SIGFPE, SIGILL};
constexpr int k_frames_max = 64;
constexpr std::size_t k_stack_bytes = 128 * 1024;
constexpr std::size_t k_text_bytes_max = 32 * 1024;
// Names are made readable by a copy of the process, because that takes memory, whose lock may be held; it gets this long.
constexpr int k_naming_ms = 2000;

thread_local const char* t_label = nullptr;
std::atomic<bool> g_crashing{false};
std::array<char, k_text_bytes_max> g_named{};
// Of an exception that nobody caught; told with the crash that it makes.
std::array<char, 1024> g_uncaught{};

// --- text, without memory of its own -------------------------------------------------------------------------------

class Text {
public:
    explicit Text(int fd) : fd_(fd) {}
    ~Text() { flush(); }
    Text(const Text&) = delete;
    Text& operator=(const Text&) = delete;

    Text& operator<<(std::string_view text) {
        for (const char letter : text) {
            if (size_ == buffer_.size()) flush();
            buffer_[size_++] = letter;
        }
        return *this;
    }
    Text& number(std::uintptr_t value, unsigned base = 10) {
        std::array<char, 24> digits{};
        std::size_t at = digits.size();
        do {
            digits[--at] = "0123456789abcdef"[value % base];
            value /= base;
        } while (value != 0);
        return *this << (base == 16 ? "0x" : "") << std::string_view(&digits[at], digits.size() - at);
    }
    void flush() {
        for (std::size_t sent = 0; sent < size_;) {
            const ssize_t count = ::write(fd_, &buffer_[sent], size_ - sent);
            if (count <= 0) break;
            sent += static_cast<std::size_t>(count);
        }
        size_ = 0;
    }

private:
    const int fd_;
    std::array<char, 512> buffer_{};
    std::size_t size_ = 0;
};

std::string_view signal_name(int number) {
    switch (number) {
        case SIGSEGV: return "SIGSEGV";
        case SIGABRT: return "SIGABRT";
        case SIGBUS: return "SIGBUS";
        case SIGFPE: return "SIGFPE";
        case SIGILL: return "SIGILL";
        default: return "a signal";
    }
}

// --- names ---------------------------------------------------------------------------------------------------------

// The symbols of the program's own file, which has those too that no other object may see. Read when it is needed: the file stays
// what it was, because it is opened by way of the process.
class Symbols {
public:
    Symbols() {
        const int fd = ::open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
        struct stat about {};
        if (fd < 0 || ::fstat(fd, &about) != 0) return;
        bytes_ = static_cast<std::size_t>(about.st_size);
        void* const mapped = ::mmap(nullptr, bytes_, PROT_READ, MAP_PRIVATE, fd, 0);
        ::close(fd);
        if (mapped == MAP_FAILED) return;
        file_ = static_cast<const std::byte*>(mapped);
        find_table();
    }

    struct Found {
        const char* name = nullptr;
        std::uintptr_t offset = 0;
    };
    // `address` as in the file.
    Found find(std::uintptr_t address) const {
        for (const ElfW(Sym) & symbol : symbols_) {
            const bool is_code = (symbol.st_info & 0xf) == STT_FUNC && symbol.st_shndx != SHN_UNDEF;
            if (is_code && address >= symbol.st_value && address < symbol.st_value + symbol.st_size && symbol.st_name < names_.size())
                return {names_.data() + symbol.st_name, address - symbol.st_value};
        }
        return {};
    }

private:
    template <class T>
    const T* at(std::size_t offset, std::size_t count = 1) const {
        if (offset > bytes_ || count > (bytes_ - offset) / sizeof(T)) return nullptr;
        return reinterpret_cast<const T*>(file_ + offset);
    }
    void find_table() {
        const auto* head = at<ElfW(Ehdr)>(0);
        if (head == nullptr || std::memcmp(head->e_ident, ELFMAG, SELFMAG) != 0) return;
        const auto* sections = at<ElfW(Shdr)>(head->e_shoff, head->e_shnum);
        if (sections == nullptr) return;
        for (const unsigned kind : {SHT_SYMTAB, SHT_DYNSYM}) {
            for (std::size_t i = 0; i < head->e_shnum && symbols_.empty(); ++i) {
                if (sections[i].sh_type != kind || sections[i].sh_link >= head->e_shnum) continue;
                const ElfW(Shdr)& names = sections[sections[i].sh_link];
                const std::size_t count = sections[i].sh_size / sizeof(ElfW(Sym));
                const auto* table = at<ElfW(Sym)>(sections[i].sh_offset, count);
                const auto* text = at<char>(names.sh_offset, names.sh_size);
                if (table == nullptr || text == nullptr || names.sh_size == 0) continue;
                symbols_ = {table, count};
                names_ = {text, names.sh_size};
            }
        }
    }

    const std::byte* file_ = nullptr;
    std::size_t bytes_ = 0;
    std::span<const ElfW(Sym)> symbols_;
    std::string_view names_;
};

struct Loaded {
    std::uintptr_t base = 0;
    std::uintptr_t begin = 0;
    std::uintptr_t end = 0;
};
Loaded g_program;

int find_program(dl_phdr_info* info, std::size_t, void*) {
    // The program itself comes first.
    g_program.base = info->dlpi_addr;
    g_program.begin = UINTPTR_MAX;
    for (int i = 0; i < info->dlpi_phnum; ++i) {
        const auto& part = info->dlpi_phdr[i];
        if (part.p_type != PT_LOAD) continue;
        const std::uintptr_t begin = info->dlpi_addr + part.p_vaddr;
        if (begin < g_program.begin) g_program.begin = begin;
        if (begin + part.p_memsz > g_program.end) g_program.end = begin + part.p_memsz;
    }
    return 1;
}

// Where the worker itself begins, below what it called.
bool is_ours(std::string_view name) {
    return name.find("10roundhouse6detail5Bound") != std::string_view::npos || name.find("2rh9CppRunner") != std::string_view::npos;
}

void write_name(Text& text, const char* name, bool readable) {
    int status = -1;
    char* const plain = readable ? abi::__cxa_demangle(name, nullptr, nullptr, &status) : nullptr;
    text << (status == 0 ? plain : name);
    std::free(plain);
}

void write_frames(Text& text, std::span<void* const> frames, bool readable) {
    const Symbols symbols;
    for (std::size_t i = 0; i < frames.size(); ++i) {
        const auto address = reinterpret_cast<std::uintptr_t>(frames[i]);
        // All but the first are where a call returns to, which may be behind the caller's end.
        const std::uintptr_t inside = i == 0 ? address : address - 1;
        const bool in_program = inside >= g_program.begin && inside < g_program.end;
        const Symbols::Found found = in_program ? symbols.find(inside - g_program.base) : Symbols::Found();
        if (found.name != nullptr && is_ours(found.name)) return;
        text << "    #";
        text.number(i) << "  ";
        if (in_program) {
            if (found.name != nullptr) {
                write_name(text, found.name, readable);
                text << " + ";
                text.number(found.offset) << "\n";
            } else {
                text << "the program + ";
                text.number(inside - g_program.base, 16) << "\n";
            }
            continue;
        }
        Dl_info about{};
        if (readable && ::dladdr(reinterpret_cast<void*>(inside), &about) != 0) {
            if (about.dli_sname != nullptr) {
                write_name(text, about.dli_sname, true);
            } else {
                text << "?";
            }
            text << " (" << (about.dli_fname != nullptr ? about.dli_fname : "?") << ")\n";
        } else {
            text.number(address, 16) << "\n";
        }
    }
}

// What a copy of this process makes of the frames; empty where it does not come to an end.
std::string_view named_frames(std::span<void* const> frames) {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) return {};
#if __GLIBC_PREREQ(2, 34)
    const pid_t child = ::_Fork();
#else
    const pid_t child = ::fork();
#endif
    if (child == 0) {
        for (const int number : k_signals) ::signal(number, SIG_DFL);
        ::alarm(5);
        {
            Text text(ends[1]);
            write_frames(text, frames, true);
            text << std::string_view("\0", 1);
        }
        ::_exit(0);
    }
    ::close(ends[1]);
    std::size_t size = 0;
    bool whole = false;
    while (child > 0 && size < g_named.size() && !whole) {
        pollfd ready{ends[0], POLLIN, 0};
        if (::poll(&ready, 1, k_naming_ms) <= 0) break;
        const ssize_t count = ::read(ends[0], &g_named[size], g_named.size() - size);
        if (count <= 0) break;
        size += static_cast<std::size_t>(count);
        whole = g_named[size - 1] == '\0';
    }
    ::close(ends[0]);
    if (child > 0) {
        ::kill(child, SIGKILL);
        int status = 0;
        ::waitpid(child, &status, 0);
    }
    return whole ? std::string_view(g_named.data(), size - 1) : std::string_view();
}

// --- the handlers --------------------------------------------------------------------------------------------------

std::uintptr_t place_of(const void* context) {
    const auto* machine = &static_cast<const ucontext_t*>(context)->uc_mcontext;
#if defined(__x86_64__)
    return static_cast<std::uintptr_t>(machine->gregs[REG_RIP]);
#elif defined(__aarch64__)
    return static_cast<std::uintptr_t>(machine->pc);
#else
    return machine == nullptr ? 0 : 0;
#endif
}

void die_by(int number) {
    ::signal(number, SIG_DFL);
    sigset_t these;
    ::sigemptyset(&these);
    ::sigaddset(&these, number);
    ::pthread_sigmask(SIG_UNBLOCK, &these, nullptr);
    ::raise(number);
}

void on_crash(int number, siginfo_t* about, void* context) {
    if (g_crashing.exchange(true)) {
        // Another thread crashed first, and ends the process. This one, if it crashed in here, ends it at once.
        static thread_local bool again = false;
        if (std::exchange(again, true)) die_by(number);
        for (;;) ::pause();
    }
    std::array<void*, k_frames_max> frames{};
    const int count = ::backtrace(frames.data(), k_frames_max);
    std::span<void* const> all(frames.data(), static_cast<std::size_t>(count > 0 ? count : 0));
    // What stands before the place that crashed is this handler.
    const std::uintptr_t place = place_of(context);
    for (std::size_t i = 0; i < all.size(); ++i) {
        if (reinterpret_cast<std::uintptr_t>(all[i]) != place) continue;
        all = all.subspan(i);
        break;
    }
    {
        Text text(STDERR_FILENO);
        text << "*** crash: " << signal_name(number);
        if (number == SIGSEGV || number == SIGBUS) {
            text << " at address ";
            text.number(reinterpret_cast<std::uintptr_t>(about->si_addr), 16);
        }
        if (g_uncaught[0] != '\0') text << ", because nobody caught " << g_uncaught.data();
        if (t_label != nullptr) text << ", in the call " << t_label;
        text << " ***\n";
        text.flush();
        const std::string_view named = named_frames(all);
        if (named.empty()) {
            write_frames(text, all, false);
        } else {
            text << named;
        }
    }
    die_by(number);
}

void on_terminate() {
    if (const std::type_info* const type = abi::__cxa_current_exception_type()) {
        int status = 0;
        char* const name = abi::__cxa_demangle(type->name(), nullptr, nullptr, &status);
        const char* const readable = status == 0 ? name : type->name();
        try {
            throw;
        } catch (const std::exception& error) {
            std::snprintf(g_uncaught.data(), g_uncaught.size(), "%s: %s", readable, error.what());
        } catch (...) {
            std::snprintf(g_uncaught.data(), g_uncaught.size(), "%s", readable);
        }
    }
    std::abort();
}

}  // namespace

void crash_label(const char* label) { t_label = label; }

void prepare_crash_thread() {
    // One for each thread, kept until the thread ends.
    struct Stack {
        std::unique_ptr<std::byte[]> bytes{new std::byte[k_stack_bytes]};
        Stack() {
            stack_t stack{};
            stack.ss_sp = bytes.get();
            stack.ss_size = k_stack_bytes;
            ::sigaltstack(&stack, nullptr);
        }
        ~Stack() {
            stack_t stack{};
            stack.ss_flags = SS_DISABLE;
            ::sigaltstack(&stack, nullptr);
        }
    };
    thread_local Stack stack;
}

void install_crash_handlers() {
    ::dl_iterate_phdr(find_program, nullptr);
    // The first use loads what it needs, which a handler could not.
    std::array<void*, 2> warm{};
    ::backtrace(warm.data(), static_cast<int>(warm.size()));
    prepare_crash_thread();
    for (const int number : k_signals) {
        struct sigaction before {};
        if (::sigaction(number, nullptr, &before) != 0 || before.sa_handler != SIG_DFL) continue;
        struct sigaction action {};
        action.sa_sigaction = on_crash;
        action.sa_flags = SA_SIGINFO | SA_ONSTACK;
        ::sigaction(number, &action, nullptr);
    }
    std::set_terminate(on_terminate);
}

}  // namespace rh
