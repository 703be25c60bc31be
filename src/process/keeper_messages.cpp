#include "process/keeper_messages.h"

#include <fmt/format.h>

#include "base/bug.h"

namespace rh::process {

namespace {

// Numbers of the kinds: both ends are one binary, but a daemon may be replaced under a living keeper. Never renumber.
enum class Kind : std::uint8_t {
    start = 1,
    signal = 2,
    end = 3,
    shutdown = 4,
    started = 5,
    start_failed = 6,
    exited = 7,
    inventory = 8,
    start_on = 9,  // a Start with CPUs, which a keeper from before there was this does not know
    first_inventory = 10,
    upgrade = 11,
    // Memory: with a limit, or facts.
    start_limited = 16,
    exited_with_memory = 17,
    limited = 18,
    over_limit = 19,
    // Fork servers.
    start_forked = 20,
    start_fork_server = 21,
    tell = 22,
};

constexpr std::size_t k_length_bytes = 4;

class Writer {
public:
    explicit Writer(Bytes& out) : out_(out) {}

    template <class Integer>
    void integer(Integer value) {
        auto bits = static_cast<std::make_unsigned_t<Integer>>(value);
        std::byte* to = out_.extend(sizeof bits);
        for (std::size_t i = 0; i < sizeof bits; ++i) to[i] = static_cast<std::byte>((bits >> (8 * i)) & 0xff);
    }
    void text(std::string_view value) {
        integer(static_cast<std::uint32_t>(value.size()));
        out_.append(as_byte_view(value));
    }
    void list(const std::vector<std::string>& values) {
        integer(static_cast<std::uint32_t>(values.size()));
        for (const auto& value : values) text(value);
    }
    void numbers(const std::vector<std::int32_t>& values) {
        integer(static_cast<std::uint32_t>(values.size()));
        for (const auto value : values) integer(value);
    }

private:
    Bytes& out_;
};

// Reads fields in order. After the first one that is not there, `ok` is false and every value is empty.
class Reader {
public:
    explicit Reader(ByteView bytes) : bytes_(bytes) {}

    template <class Integer>
    Integer integer() {
        std::make_unsigned_t<Integer> bits = 0;
        const ByteView from = take(sizeof bits);
        for (std::size_t i = 0; i < from.size(); ++i) {
            const auto byte = std::to_integer<std::make_unsigned_t<Integer>>(from[i]);
            bits = static_cast<std::make_unsigned_t<Integer>>(bits | (byte << (8 * i)));
        }
        return static_cast<Integer>(bits);
    }
    std::string text() { return std::string(as_text(take(integer<std::uint32_t>()))); }
    std::vector<std::string> list() {
        std::vector<std::string> values;
        // The count is not trusted with a reservation: the strings must really be there.
        for (auto count = integer<std::uint32_t>(); count > 0 && ok_; --count) values.push_back(text());
        return values;
    }
    std::vector<std::int32_t> numbers() {
        std::vector<std::int32_t> values;
        for (auto count = integer<std::uint32_t>(); count > 0 && ok_; --count) values.push_back(integer<std::int32_t>());
        return values;
    }
    bool ok() const { return ok_; }
    // All fields were there, and nothing after them.
    bool done() const { return ok_ && bytes_.empty(); }

private:
    ByteView take(std::size_t count) {
        if (!ok_ || count > bytes_.size()) {
            ok_ = false;
            return {};
        }
        const ByteView taken = bytes_.first(count);
        bytes_ = bytes_.subspan(count);
        return taken;
    }

    ByteView bytes_;
    bool ok_ = true;
};

void write_kind(Writer& to, Kind kind) { to.integer(static_cast<std::uint8_t>(kind)); }

void write(Writer& to, const MemoryFacts& m) {
    to.integer(static_cast<std::uint8_t>(m.enforced_by));
    to.integer(static_cast<std::uint8_t>(m.is_node_limit));
    to.integer(m.limit_bytes);
    to.integer(m.peak_bytes);
    to.integer(m.growth_bytes);
    to.integer(m.growth_ms);
    to.integer(m.kills);
}

Kind kind_of(const Start& m) {
    if (m.is_fork_server) return Kind::start_fork_server;
    if (!m.fork_server.empty()) return Kind::start_forked;
    if (m.memory_bytes != 0) return Kind::start_limited;
    return m.cpus.empty() ? Kind::start : Kind::start_on;
}

void write(Writer& to, const Start& m) {
    const Kind kind = kind_of(m);
    write_kind(to, kind);
    to.text(m.id);
    to.list(m.argv);
    to.list(m.env);
    to.text(m.cwd);
    to.text(m.stdout_path);
    to.text(m.stderr_path);
    if (kind == Kind::start || kind == Kind::start_fork_server) return;
    to.numbers(m.cpus);
    if (kind == Kind::start_on) return;
    to.integer(m.memory_bytes);
    if (kind == Kind::start_limited) return;
    to.text(m.fork_server);
    to.list(m.import_path);
}
void write(Writer& to, const Signal& m) {
    write_kind(to, Kind::signal);
    to.text(m.id);
    to.integer(m.signal_number);
}
void write(Writer& to, const End& m) {
    write_kind(to, Kind::end);
    to.text(m.id);
    to.integer(m.grace_ms);
}
void write(Writer& to, const Shutdown&) { write_kind(to, Kind::shutdown); }
void write(Writer& to, const Started& m) {
    write_kind(to, Kind::started);
    to.text(m.id);
    to.integer(m.pid);
}
void write(Writer& to, const StartFailed& m) {
    write_kind(to, Kind::start_failed);
    to.text(m.id);
    to.integer(m.error_number);
    to.text(m.what);
}
void write(Writer& to, const Exited& m) {
    const bool with_memory = m.memory.enforced_by != Enforcer::nobody;
    write_kind(to, with_memory ? Kind::exited_with_memory : Kind::exited);
    to.text(m.id);
    to.integer(m.pid);
    to.integer(m.exit_code);
    to.integer(m.signal_number);
    to.integer(m.peak_memory_kib);
    if (with_memory) write(to, m.memory);
}
void write(Writer& to, const Upgrade& m) {
    write_kind(to, Kind::upgrade);
    to.text(m.program);
}
void write(Writer& to, const Inventory& m) {
    write_kind(to, m.is_first ? Kind::first_inventory : Kind::inventory);
    to.integer(static_cast<std::uint32_t>(m.workers.size()));
    for (const auto& worker : m.workers) {
        to.text(worker.id);
        to.integer(worker.pid);
    }
}

void write(Writer& to, const Limited& m) {
    write_kind(to, Kind::limited);
    to.text(m.id);
    write(to, m.memory);
    to.text(m.cgroup);
}
void write(Writer& to, const OverLimit& m) {
    write_kind(to, Kind::over_limit);
    to.text(m.id);
    to.integer(m.pid);
    to.text(m.name);
    write(to, m.memory);
}

void write(Writer& to, const Tell& m) {
    write_kind(to, Kind::tell);
    to.text(m.id);
    to.text(m.text);
}

// Braced initialisers evaluate from left to right, which is the order of the fields.
Inventory read_inventory(Reader& from, bool is_first) {
    Inventory inventory;
    inventory.is_first = is_first;
    for (auto count = from.integer<std::uint32_t>(); count > 0 && from.ok(); --count)
        inventory.workers.push_back(Started{from.text(), from.integer<std::int32_t>()});
    return inventory;
}

Start read_start(Reader& from) { return Start{from.text(), from.list(), from.list(), from.text(), from.text(), from.text()}; }

Start read_start_on(Reader& from) {
    Start start = read_start(from);
    start.cpus = from.numbers();
    return start;
}

Start read_start_limited(Reader& from) {
    Start start = read_start_on(from);
    start.memory_bytes = from.integer<std::uint64_t>();
    return start;
}

Start read_start_forked(Reader& from) {
    Start start = read_start_limited(from);
    start.fork_server = from.text();
    start.import_path = from.list();
    return start;
}

Start read_start_fork_server(Reader& from) {
    Start start = read_start(from);
    start.is_fork_server = true;
    return start;
}

MemoryFacts read_memory(Reader& from) {
    return MemoryFacts{static_cast<Enforcer>(from.integer<std::uint8_t>()), from.integer<std::uint8_t>() != 0, from.integer<std::uint64_t>(),
                       from.integer<std::uint64_t>(), from.integer<std::uint64_t>(), from.integer<std::uint32_t>(), from.integer<std::uint32_t>()};
}

Exited read_exited(Reader& from) {
    return Exited{from.text(), from.integer<std::int32_t>(), from.integer<std::int32_t>(), from.integer<std::int32_t>(), from.integer<std::uint64_t>(), {}};
}

Exited read_exited_with_memory(Reader& from) {
    Exited exited = read_exited(from);
    exited.memory = read_memory(from);
    return exited;
}

bool read(Reader& from, KeeperMessage& message) {
    switch (static_cast<Kind>(from.integer<std::uint8_t>())) {
        case Kind::start: message = read_start(from); return true;
        case Kind::start_on: message = read_start_on(from); return true;
        case Kind::signal: message = Signal{from.text(), from.integer<std::int32_t>()}; return true;
        case Kind::end: message = End{from.text(), from.integer<std::uint32_t>()}; return true;
        case Kind::shutdown: message = Shutdown{}; return true;
        case Kind::upgrade: message = Upgrade{from.text()}; return true;
        case Kind::started: message = Started{from.text(), from.integer<std::int32_t>()}; return true;
        case Kind::start_failed:
            message = StartFailed{from.text(), from.integer<std::int32_t>(), from.text()};
            return true;
        case Kind::start_limited: message = read_start_limited(from); return true;
        case Kind::start_forked: message = read_start_forked(from); return true;
        case Kind::start_fork_server: message = read_start_fork_server(from); return true;
        case Kind::tell: message = Tell{from.text(), from.text()}; return true;
        case Kind::exited: message = read_exited(from); return true;
        case Kind::exited_with_memory: message = read_exited_with_memory(from); return true;
        case Kind::limited: message = Limited{from.text(), read_memory(from), from.text()}; return true;
        case Kind::over_limit: message = OverLimit{from.text(), from.integer<std::int32_t>(), from.text(), read_memory(from)}; return true;
        case Kind::inventory: message = read_inventory(from, false); return true;
        case Kind::first_inventory: message = read_inventory(from, true); return true;
    }
    return false;
}

}  // namespace

std::string_view enforcer_name(Enforcer enforcer) {
    switch (enforcer) {
        case Enforcer::nobody: return "nobody";
        case Enforcer::cgroup2: return "cgroup2";
        case Enforcer::cgroup1: return "cgroup1";
        case Enforcer::monitor: return "monitor";
        case Enforcer::kernel: return "kernel";
    }
    return "unknown";
}

Enforcer enforcer_of(std::string_view name) {
    for (const auto enforcer : {Enforcer::cgroup2, Enforcer::cgroup1, Enforcer::monitor, Enforcer::kernel}) {
        if (enforcer_name(enforcer) == name) return enforcer;
    }
    return Enforcer::nobody;
}

Result<void> check_start(const Start& start) {
    std::size_t size = 1 + 6 * k_length_bytes + start.id.size() + start.cwd.size() + start.stdout_path.size() +
                       start.stderr_path.size();
    const Kind kind = kind_of(start);
    if (kind != Kind::start && kind != Kind::start_fork_server) size += k_length_bytes + start.cpus.size() * sizeof(std::int32_t);
    if (kind == Kind::start_limited || kind == Kind::start_forked) size += sizeof start.memory_bytes;
    if (kind == Kind::start_forked) size += 2 * k_length_bytes + start.fork_server.size();
    for (const auto* list : {&start.argv, &start.env, &start.import_path}) {
        for (const auto& text : *list) size += k_length_bytes + text.size();
    }
    if (size <= k_keeper_message_bytes_max) return {};
    return fail(Code::limit_exceeded,
                fmt::format("the arguments and environment of process {} have {} bytes; at most {} are possible: "
                            "pass large values in files",
                            start.id, size, k_keeper_message_bytes_max));
}

void append_keeper_message(Bytes& out, const KeeperMessage& message) {
    const std::size_t at = out.size();
    Writer writer(out);
    writer.integer(std::uint32_t{0});
    std::visit([&](const auto& each) { write(writer, each); }, message);
    const std::size_t length = out.size() - at - k_length_bytes;
    RH_CHECK(length <= k_keeper_message_bytes_max);
    for (std::size_t i = 0; i < k_length_bytes; ++i) out.data()[at + i] = static_cast<std::byte>((length >> (8 * i)) & 0xff);
}

void KeeperDecoder::feed(ByteView bytes) {
    if (used_ == buffer_.size()) {
        buffer_.clear();
        buffer_.shrink_if_empty(64 * 1024);
        used_ = 0;
    } else if (used_ > buffer_.size() / 2) {
        buffer_ = Bytes(buffer_.view().subspan(used_));
        used_ = 0;
    }
    buffer_.append(bytes);
}

Result<bool> KeeperDecoder::next(KeeperMessage& message) {
    const ByteView waiting = buffer_.view().subspan(used_);
    if (waiting.size() < k_length_bytes) return false;
    const auto length = Reader(waiting).integer<std::uint32_t>();
    if (length > k_keeper_message_bytes_max)
        return fail(Code::protocol, fmt::format("a keeper message of {} bytes was announced; at most {} are allowed", length,
                                                k_keeper_message_bytes_max));
    if (waiting.size() - k_length_bytes < length) return false;
    Reader reader(waiting.subspan(k_length_bytes, length));
    if (!read(reader, message)) return fail(Code::protocol, fmt::format("a keeper message of {} bytes has an unknown kind", length));
    if (!reader.done()) return fail(Code::protocol, fmt::format("a keeper message of {} bytes is malformed", length));
    used_ += k_length_bytes + length;
    return true;
}

}  // namespace rh::process
