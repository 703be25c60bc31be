#include "worker/frames.h"

#ifdef __linux__

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <cxxabi.h>
#include <dlfcn.h>
#include <elf.h>
#include <execinfo.h>
#include <fcntl.h>
#include <link.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

namespace rh::worker {

namespace {

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

}  // namespace

std::span<void* const> Frames::below_signal() const {
    const std::span<void* const> taken(all.data(), static_cast<std::size_t>(count > 0 ? count : 0));
    for (std::size_t i = 0; i < taken.size(); ++i) {
        if (reinterpret_cast<std::uintptr_t>(taken[i]) == place) return taken.subspan(i);
    }
    return taken;
}

void prepare_frames() {
    ::dl_iterate_phdr(find_program, nullptr);
    std::array<void*, 2> warm{};
    ::backtrace(warm.data(), static_cast<int>(warm.size()));
}

void take_frames(Frames& frames, const void* context) {
    frames.count = ::backtrace(frames.all.data(), static_cast<int>(frames.all.size()));
    frames.place = place_of(context);
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

std::size_t written_by_copy(std::span<char> into, std::chrono::milliseconds silence, void (*write)(Text& text, void* with), void* with) {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) return 0;
#if __GLIBC_PREREQ(2, 34)
    const pid_t child = ::_Fork();
#else
    const pid_t child = ::fork();
#endif
    if (child == 0) {
        for (const int number : k_crash_signals) ::signal(number, SIG_DFL);
        ::alarm(5);
        {
            Text text(ends[1]);
            write(text, with);
            text << std::string_view("\0", 1);
        }
        ::_exit(0);
    }
    ::close(ends[1]);
    std::size_t size = 0;
    bool whole = false;
    while (child > 0 && size < into.size() && !whole) {
        pollfd ready{ends[0], POLLIN, 0};
        const int woken = ::poll(&ready, 1, static_cast<int>(silence.count()));
        // By a signal; the copy ends by itself, whatever comes.
        if (woken < 0 && errno == EINTR) continue;
        if (woken <= 0) break;
        const ssize_t count = ::read(ends[0], &into[size], into.size() - size);
        if (count <= 0) break;
        size += static_cast<std::size_t>(count);
        whole = into[size - 1] == '\0';
    }
    ::close(ends[0]);
    if (child > 0) {
        ::kill(child, SIGKILL);
        int status = 0;
        ::waitpid(child, &status, 0);
    }
    return whole ? size - 1 : 0;
}

}  // namespace rh::worker

#else

namespace rh::worker {

std::size_t written_by_copy(std::span<char>, std::chrono::milliseconds, void (*)(Text&, void*), void*) { return 0; }

}  // namespace rh::worker

#endif
