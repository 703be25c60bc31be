#include "net/unix.h"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_future.hpp>
#include <fcntl.h>
#include <fstream>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/ids.h"

namespace rh::net {
namespace {

using namespace std::chrono_literals;

class UnixTest : public ::testing::Test {
protected:
    UnixTest() : folder("/tmp/rh-test-" + random_hex(8)), path(folder + "/socket") { EXPECT_EQ(::mkdir(folder.c_str(), 0700), 0); }
    ~UnixTest() override {
        ::unlink(path.c_str());
        ::rmdir(folder.c_str());
    }
    // Runs the coroutine on this thread, to its end.
    template <class T>
    T run(asio::awaitable<T> task) {
        std::future<T> future = asio::co_spawn(context, std::move(task), asio::use_future);
        context.restart();
        context.run_for(20s);
        EXPECT_EQ(future.wait_for(0s), std::future_status::ready);
        return future.get();
    }

    const std::string folder;
    const std::string path;
    asio::io_context context{1};
};

TEST_F(UnixTest, ConnectsAndKnowsThePeer) {
    Result<UnixListener> listener = UnixListener::listen(context.get_executor(), path);
    ASSERT_TRUE(listener);
    struct stat file {};
    ASSERT_EQ(::stat(path.c_str(), &file), 0);
    EXPECT_EQ(file.st_mode & 0777, 0600u);
    const Result<Fd> client = connect_unix(path);
    ASSERT_TRUE(client) << client.error().message;
    Result<Accepted> accepted = run(listener->accept());
    ASSERT_TRUE(accepted);
    EXPECT_EQ(accepted->peer.uid, ::geteuid());
    EXPECT_EQ(accepted->peer.pid, ::getpid());
}

TEST_F(UnixTest, StreamsReadAndWriteWithoutWaiting) {
    Result<UnixListener> listener = UnixListener::listen(context.get_executor(), path);
    ASSERT_TRUE(listener);
    Result<Fd> client = connect_unix(path);
    ASSERT_TRUE(client);
    Result<Accepted> accepted = run(listener->accept());
    ASSERT_TRUE(accepted);
    Stream& stream = *accepted->stream;
    std::byte buffer[16];
    EXPECT_EQ(stream.try_read(buffer).value(), 0u);
    ASSERT_EQ(::send(client->get(), "hello", 5, 0), 5);
    EXPECT_TRUE(run(stream.wait_readable()));
    EXPECT_EQ(stream.try_read(buffer).value(), 5u);
    EXPECT_EQ(as_text(ByteView(buffer).first(5)), "hello");
    // A peer that does not read: writing stops, and goes on once it does.
    const std::string much(1 << 20, 'x');
    std::size_t written = 0;
    for (;;) {
        const std::size_t count = stream.try_write(as_byte_view(much)).value();
        if (count == 0) break;
        written += count;
    }
    std::string taken(written, '\0');
    ASSERT_EQ(::recv(client->get(), taken.data(), taken.size(), MSG_WAITALL), static_cast<ssize_t>(written));
    EXPECT_TRUE(run(stream.wait_writable()));
    EXPECT_GT(stream.try_write(as_byte_view("y")).value(), 0u);
    client->close();
    EXPECT_TRUE(run(stream.wait_readable()));
    EXPECT_EQ(stream.try_read(buffer).error().code, Code::node_lost);
    stream.close();
    EXPECT_FALSE(stream.try_read(buffer));
    EXPECT_FALSE(stream.try_write(as_byte_view("z")));
}

TEST_F(UnixTest, AStaleSocketIsReplaced) {
    {
        const Result<UnixListener> dead = UnixListener::listen(context.get_executor(), path);
        ASSERT_TRUE(dead);
    }
    const Error error = connect_unix(path).error();
    EXPECT_EQ(error.code, Code::node_lost);
    EXPECT_EQ(error.fact("started"), "no");
    EXPECT_NE(error.message.find(path), std::string::npos);
    const Result<UnixListener> listener = UnixListener::listen(context.get_executor(), path);
    ASSERT_TRUE(listener);
    EXPECT_TRUE(connect_unix(path));
}

TEST_F(UnixTest, AnOrdinaryFileInTheWayIsReplaced) {
    std::ofstream(path) << "not a socket";
    const Result<UnixListener> listener = UnixListener::listen(context.get_executor(), path);
    ASSERT_TRUE(listener);
    EXPECT_TRUE(connect_unix(path));
}

TEST_F(UnixTest, NobodyThere) {
    const Error error = connect_unix(path).error();
    EXPECT_EQ(error.code, Code::node_lost);
    EXPECT_NE(error.message.find(path), std::string::npos);
}

TEST_F(UnixTest, APathThatIsTooLongIsNamed) {
    const std::string longer = folder + "/" + std::string(120, 'n');
    for (const Error& error : {connect_unix(longer).error(), UnixListener::listen(context.get_executor(), longer).error()}) {
        EXPECT_EQ(error.code, Code::invalid_name);
        EXPECT_NE(error.message.find("at most 107"), std::string::npos) << error.message;
        EXPECT_NE(error.message.find(longer), std::string::npos);
    }
}

TEST_F(UnixTest, AFolderThatIsNotThereIsNamed) {
    const Error error = UnixListener::listen(context.get_executor(), folder + "/none/socket").error();
    EXPECT_EQ(error.code, Code::io);
    EXPECT_NE(error.message.find("/none/socket"), std::string::npos);
}

TEST_F(UnixTest, AnotherUsersSocketIsRefused) {
    if (::geteuid() != 0) GTEST_SKIP() << "only root can give a socket to another user";
    const Result<UnixListener> listener = UnixListener::listen(context.get_executor(), path);
    ASSERT_TRUE(listener);
    ASSERT_EQ(::chown(path.c_str(), 12345, 12345), 0);
    const Error error = connect_unix(path).error();
    EXPECT_EQ(error.code, Code::not_allowed);
    EXPECT_NE(error.message.find("12345"), std::string::npos) << error.message;
    EXPECT_NE(error.message.find(path), std::string::npos);
}

TEST_F(UnixTest, CloseEndsAnAccept) {
    Result<UnixListener> listener = UnixListener::listen(context.get_executor(), path);
    ASSERT_TRUE(listener);
    std::future<Result<Accepted>> accepting = asio::co_spawn(context, listener->accept(), asio::use_future);
    context.poll();
    listener->close();
    context.restart();
    context.run_for(20s);
    const Result<Accepted> accepted = accepting.get();
    ASSERT_FALSE(accepted);
    EXPECT_EQ(accepted.error().fact("errno"), std::to_string(ECANCELED));
}

}  // namespace
}  // namespace rh::net
