#include "process/keeper_messages.h"

#include <gtest/gtest.h>

#include "base/ids.h"

namespace rh::process {
namespace {

constexpr MemoryFacts k_memory{Enforcer::cgroup1, true, 256 << 20, 255 << 20, 200 << 20, 1234, 2};

std::vector<KeeperMessage> one_of_each() {
    return {
        Start{"w1", {"python", "-m", "worker"}, {"PATH=/bin", "EMPTY="}, "/tmp", "/tmp/out", "/tmp/err"},
        Start{"w2", {"python"}, {}, "/tmp", "/tmp/out", "/tmp/err", {0, 3, 130}},
        Start{"w3", {"python"}, {}, "/tmp", "/tmp/out", "/tmp/err", {}, 123456789012},
        Start{"w4", {"python"}, {}, "/tmp", "/tmp/out", "/tmp/err", {1}, 1},
        Start{"w5", {"python"}, {"A=b"}, "/tmp", "/tmp/out", "/tmp/err", {2}, 7, "f1", {"/project", "/site-packages"}},
        Start{"f1", {"python", "--fork-server"}, {"A=b"}, "/tmp", "/tmp/out", "/tmp/err", {}, 0, "", {}, true},
        Tell{"f1", R"({"import": ["numpy"]})"},
        Signal{"w1", 15},
        End{"w1", 2000},
        Shutdown{},
        Upgrade{"/opt/roundhoused"},
        Started{"w1", 4711},
        StartFailed{"w1", 2, "cannot run /no/such/python: No such file or directory"},
        Exited{"w1", 4711, -1, 9, 123456789012},
        Inventory{{{"w1", 4711}, {"", -1}}},
        Inventory{{}, true},
        Exited{"w1", 4711, -1, 9, 123456789012, k_memory},
        Limited{"w1", k_memory, "/sys/fs/cgroup/roundhouse/w1"},
        OverLimit{"w1", 4712, "a (name)", k_memory},
    };
}

Bytes encode(const KeeperMessage& message) {
    Bytes bytes;
    append_keeper_message(bytes, message);
    return bytes;
}

std::string hex(ByteView bytes) {
    std::string text;
    for (const std::byte byte : bytes) {
        text += "0123456789abcdef"[std::to_integer<int>(byte) >> 4];
        text += "0123456789abcdef"[std::to_integer<int>(byte) & 15];
    }
    return text;
}

// The messages have no operator==: equal bytes are equal messages.
void expect_same(const KeeperMessage& left, const KeeperMessage& right) {
    EXPECT_EQ(hex(encode(left).view()), hex(encode(right).view()));
}

TEST(KeeperMessages, HasItsGoldenBytes) {
    EXPECT_EQ(hex(encode(Shutdown{}).view()), "0100000004");
    EXPECT_EQ(hex(encode(Signal{"w1", 15}).view()), "0b00000002020000007731" "0f000000");
    EXPECT_EQ(hex(encode(Exited{"w", 1, -1, 9, 258}).view()),
              "1a00000007" "0100000077" "01000000" "ffffffff" "09000000" "0201000000000000");
    EXPECT_EQ(hex(encode(Start{"a", {"b"}, {}, "c", "", "d"}).view()),
              "2100000001" "0100000061" "01000000" "0100000062" "00000000" "0100000063" "00000000" "0100000064");
    EXPECT_EQ(hex(encode(Start{"a", {"b"}, {}, "c", "", "d", {1, 258}}).view()),
              "2d00000009" "0100000061" "01000000" "0100000062" "00000000" "0100000063" "00000000" "0100000064" "02000000" "01000000" "02010000");
}

TEST(KeeperMessages, MemoryHasItsGoldenBytes) {
    EXPECT_EQ(hex(encode(Start{"a", {"b"}, {}, "c", "", "d", {1}, 258}).view()),
              "3100000010" "0100000061" "01000000" "0100000062" "00000000" "0100000063" "00000000" "0100000064" "01000000" "01000000" "0201000000000000");
    const MemoryFacts facts{Enforcer::monitor, true, 1, 2, 3, 4, 5};
    const std::string bytes = "03" "01" "0100000000000000" "0200000000000000" "0300000000000000" "04000000" "05000000";
    EXPECT_EQ(hex(encode(Exited{"w", 1, -1, 9, 258, facts}).view()), "3c00000011" "0100000077" "01000000" "ffffffff" "09000000" "0201000000000000" + bytes);
    EXPECT_EQ(hex(encode(Limited{"w", facts, "/c"}).view()), "2e00000012" "0100000077" + bytes + "020000002f63");
    EXPECT_EQ(hex(encode(OverLimit{"w", 7, "n", facts}).view()), "3100000013" "0100000077" "07000000" "010000006e" + bytes);
}

TEST(KeeperMessages, ForkServersHaveTheirGoldenBytes) {
    EXPECT_EQ(hex(encode(Start{"a", {"b"}, {}, "c", "", "d", {}, 0, "f", {"/p"}}).view()),
              "3c00000014" "0100000061" "01000000" "0100000062" "00000000" "0100000063" "00000000" "0100000064" "00000000" "0000000000000000"
              "0100000066" "01000000" "020000002f70");
    EXPECT_EQ(hex(encode(Start{"a", {"b"}, {}, "c", "", "d", {}, 0, "", {}, true}).view()),
              "2100000015" "0100000061" "01000000" "0100000062" "00000000" "0100000063" "00000000" "0100000064");
    EXPECT_EQ(hex(encode(Tell{"f", "{}"}).view()), "0c00000016" "0100000066" "020000007b7d");
}

TEST(KeeperMessages, RoundTripsEveryKindInOneStreamFedByteByByte) {
    Bytes stream;
    for (const auto& message : one_of_each()) append_keeper_message(stream, message);
    KeeperDecoder decoder;
    std::vector<KeeperMessage> got;
    for (const std::byte byte : stream.view()) {
        decoder.feed({&byte, 1});
        KeeperMessage message;
        const auto whole = decoder.next(message);
        ASSERT_TRUE(whole) << whole.error().message;
        if (*whole) got.push_back(std::move(message));
    }
    const auto sent = one_of_each();
    ASSERT_EQ(got.size(), sent.size());
    for (std::size_t i = 0; i < sent.size(); ++i) {
        EXPECT_EQ(got[i].index(), sent[i].index());
        expect_same(got[i], sent[i]);
    }
}

TEST(KeeperMessages, WaitsForTheRestOfATruncatedMessage) {
    for (const auto& message : one_of_each()) {
        const Bytes whole = encode(message);
        for (std::size_t size = 0; size < whole.size(); ++size) {
            KeeperDecoder decoder;
            decoder.feed(whole.view().first(size));
            KeeperMessage got;
            const auto result = decoder.next(got);
            ASSERT_TRUE(result);
            EXPECT_FALSE(*result);
        }
    }
}

// The length says that the message is complete, but a field inside runs past its end, or bytes are left over.
TEST(KeeperMessages, RefusesAShortenedOrLengthenedMessage) {
    for (const auto& message : one_of_each()) {
        const Bytes whole = encode(message);
        const std::size_t length = whole.size() - 4;
        for (std::size_t wrong = 0; wrong <= length + 1; ++wrong) {
            if (wrong == length) continue;
            Bytes bytes(whole.view());
            if (wrong > length) *bytes.extend(1) = std::byte{0};
            bytes.data()[0] = static_cast<std::byte>(wrong & 0xff);
            bytes.data()[1] = static_cast<std::byte>(wrong >> 8);
            KeeperDecoder decoder;
            decoder.feed(bytes.view());
            KeeperMessage got;
            const auto result = decoder.next(got);
            ASSERT_FALSE(result) << hex(bytes.view());
            EXPECT_EQ(result.error().code, Code::protocol);
        }
    }
}

TEST(KeeperMessages, RefusesAnUnknownKindAndAnEnormousLength) {
    for (const std::string_view bytes : {std::string_view("\x01\0\0\0\x0a", 5), std::string_view("\x01\0\0\0\0", 5),
                                         std::string_view("\0\0\0\0", 4), std::string_view("\x01\0\0\x01", 4)}) {
        KeeperDecoder decoder;
        decoder.feed(as_byte_view(bytes));
        KeeperMessage got;
        const auto result = decoder.next(got);
        ASSERT_FALSE(result);
        EXPECT_EQ(result.error().code, Code::protocol);
    }
}

TEST(KeeperMessages, SurvivesRandomBytes) {
    for (int round = 0; round < 20'000; ++round) {
        const std::string noise = random_bytes(static_cast<std::size_t>(round % 64));
        Bytes bytes;
        const char length[4] = {static_cast<char>(noise.size()), 0, 0, 0};
        bytes.append(as_byte_view({length, 4}));
        bytes.append(as_byte_view(noise));
        KeeperDecoder decoder;
        decoder.feed(bytes.view());
        KeeperMessage got;
        const auto result = decoder.next(got);
        if (!result) {
            EXPECT_EQ(result.error().code, Code::protocol);
        }
    }
}

TEST(KeeperMessages, RefusesToSendAStartThatIsTooLong) {
    Start start{"w1", {"python"}, {}, "/", "/o", "/e"};
    EXPECT_TRUE(check_start(start));
    start.env.push_back(std::string(k_keeper_message_bytes_max, 'x'));
    const auto result = check_start(start);
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code, Code::limit_exceeded);
    // The bound that is checked is the one that the decoder keeps.
    start.env.back().resize(k_keeper_message_bytes_max - (1 + 6 * 4 + 4 + 4 + 2 + 6 + 1 + 2 + 2));
    EXPECT_TRUE(check_start(start));
    const Bytes bytes = encode(start);
    EXPECT_EQ(bytes.size(), 4 + k_keeper_message_bytes_max);
    KeeperDecoder decoder;
    decoder.feed(bytes.view());
    KeeperMessage got;
    EXPECT_TRUE(decoder.next(got).value());
}

}  // namespace
}  // namespace rh::process
