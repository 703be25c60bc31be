#include "bin/daemon_main.h"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <csignal>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include "http/server.h"
#include "rpc/spin.h"

namespace rh::bin {

namespace {

namespace asio = net::asio;

// Runs everything that is ready, then looks a little for more before it blocks: the wake-up would cost more than the call.
void run_spinning(asio::io_context& context) {
    rpc::Spin spin;
    if (!rpc::Spin::possible()) context.run();
    while (!context.stopped()) {
        if (context.poll() != 0) continue;
        if (spin.until([&] { return context.poll() != 0; })) continue;
        const auto start = rpc::Spin::Clock::now();
        context.run_one();
        spin.waited(rpc::Spin::Clock::now() - start);
    }
}

asio::awaitable<void> serve(daemon::Daemon& daemon, http::Server& server, asio::io_context& context) {
    server.start();
    co_await daemon.run();
    co_await server.stop();
    context.stop();
}

}  // namespace

int run_daemon(const daemon::Daemon::Options& options) {
    ::signal(SIGPIPE, SIG_IGN);
    spdlog::set_default_logger(std::make_shared<spdlog::logger>("roundhoused", std::make_shared<spdlog::sinks::stderr_sink_st>()));
    spdlog::flush_on(spdlog::level::info);
    asio::io_context context(1);
    Result<net::UnixListener> listener = net::UnixListener::listen(context.get_executor(), options.socket_path);
    if (!listener) {
        spdlog::error("{}", listener.error().message);
        return 1;
    }
    daemon::Daemon daemon(context.get_executor(), options);
    http::Server server(context.get_executor(), std::move(*listener), daemon);
    asio::co_spawn(context, serve(daemon, server, context), [](const std::exception_ptr& thrown) {
        if (thrown) std::rethrow_exception(thrown);
    });
    run_spinning(context);
    return 0;
}

}  // namespace rh::bin
