#pragma once

// Every bound in one place, so that a reader can add up what a node may take. Units stand last in the names.

#include <chrono>
#include <cstddef>
#include <cstdint>

namespace rh::limits {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;

// Frames. A body part of one message never exceeds a chunk; a frame may batch messages up to its own bounds.
inline constexpr std::size_t k_chunk_bytes = 64 * 1024;
inline constexpr std::size_t k_frame_header_bytes_max = 128 * 1024;
inline constexpr std::size_t k_frame_body_bytes_max = 256 * 1024;
inline constexpr std::size_t k_frame_messages_max = 4096;
// A body's parts (a pickle and its out-of-band buffers) and its whole length.
inline constexpr std::size_t k_body_parts_max = 4096;
inline constexpr std::uint64_t k_body_bytes_max = std::uint64_t{1} << 40;  // 1 TiB: a sanity bound, memory grows as bytes arrive

// Flow control. A sender may have this much of one body, or of one call's output, on its way unacknowledged.
inline constexpr std::uint64_t k_body_window_bytes = 1024 * 1024;
inline constexpr std::uint64_t k_output_window_bytes = 256 * 1024;
// The same for a stream of items, each of which counts at least its share: the window divided by `prefetch`.
inline constexpr std::uint64_t k_items_window_bytes = 1024 * 1024;
inline constexpr std::uint32_t k_prefetch_default = 1024;
inline constexpr std::uint32_t k_prefetch_max = 65'536;
inline constexpr std::uint32_t k_input_prefetch = 16;
inline constexpr std::uint32_t k_inputs_per_call_max = 64;

// Queues. Calls beyond these are refused with Code::limit_exceeded, never silently queued. A client that stops reading
// makes the daemon hold at most one body window and one output window for each of its calls.
inline constexpr std::size_t k_calls_per_connection_max = 4096;
inline constexpr std::size_t k_calls_per_worker_max = 4096;
inline constexpr std::size_t k_connections_max = 4096;
// Of those, TCP connections on which nobody has shown a token: whoever has none cannot take the places of those who have one, nor
// of this machine's own.
inline constexpr std::size_t k_strangers_max = 512;
inline constexpr std::size_t k_services_max = 10'000;
// Calls that wait for a worker that takes a dead one's place.
inline constexpr std::size_t k_parked_calls_max = 256;
// Results that a worker keeps until their callers are known to have them; beyond these the oldest go.
inline constexpr std::size_t k_kept_answers_max = 1024;  // of the node's own, for each client
inline constexpr std::size_t k_kept_results_max = 4096;
inline constexpr std::size_t k_kept_result_bytes = 16 * 1024 * 1024;
inline constexpr std::size_t k_workers_max = 512;
// The calls that one is made from within.
inline constexpr int k_parents_max = 32;
inline constexpr std::size_t k_worker_threads_max = 256;
inline constexpr std::size_t k_write_batch_bytes = 256 * 1024;
inline constexpr std::size_t k_read_buffer_bytes = 256 * 1024;

// HTTP, before the Upgrade.
inline constexpr std::size_t k_http_head_bytes_max = 16 * 1024;
inline constexpr milliseconds k_handshake_timeout{10'000};

// HTTP (protocol/http.md, Bounds).
inline constexpr std::size_t k_http_target_bytes_max = 8 * 1024;
inline constexpr std::size_t k_http_headers_max = 100;
inline constexpr std::size_t k_http_json_bytes_max = 64 * 1024 * 1024;
inline constexpr std::size_t k_http_chunked_bytes_max = 8 * 1024 * 1024;
// Bodies that the daemon has to have whole, because a value is made of them rather than a call.
inline constexpr std::uint64_t k_http_kept_bytes_max = std::uint64_t{1} << 30;
// Of all requests together that wait for the rest of such a body, or of JSON: more are told to come back.
inline constexpr std::uint64_t k_http_waiting_bytes_max = std::uint64_t{2} << 30;
inline constexpr std::size_t k_http_form_fields_max = 256;
inline constexpr std::size_t k_json_depth_max = 64;
inline constexpr std::size_t k_json_number_bytes_max = 1024;
// What is read ahead of a request that is being served, so that a peer that sends on without end is not listened to.
inline constexpr std::size_t k_http_ahead_bytes_max = 16 * 1024;
inline constexpr std::size_t k_http_write_bytes = 256 * 1024;
inline constexpr milliseconds k_http_body_timeout{30'000};
inline constexpr milliseconds k_http_idle_timeout{75'000};
inline constexpr milliseconds k_http_write_timeout{60'000};
inline constexpr milliseconds k_http_event_pause{15'000};
// A peer that is still sending is listened to for so long before its refused request's connection ends, so that it can
// read the answer; one that sends nothing, less long.
inline constexpr milliseconds k_http_linger{2'000};
inline constexpr milliseconds k_http_linger_quiet{200};

// TCP: a peer whose machine is gone shows itself after two minutes of silence.
inline constexpr seconds k_keepalive_idle{60};
inline constexpr seconds k_keepalive_interval{15};
inline constexpr int k_keepalive_probes = 4;

// Tokens. A wrong one is answered after this long, twice as long each time that its address sends another within a minute; so many
// answers wait at once, and further ones are not given.
inline constexpr milliseconds k_wrong_token_delay{50};
inline constexpr milliseconds k_wrong_token_delay_max{2'000};
inline constexpr seconds k_wrong_token_memory{60};
inline constexpr std::size_t k_wrong_token_addresses_max = 1024;
inline constexpr std::size_t k_wrong_token_waiting_max = 64;
inline constexpr std::size_t k_tokens_max = 1000;
inline constexpr std::size_t k_token_text_bytes_max = 256;

// Names of services, clusters and methods: shown to people, put into paths.
inline constexpr std::size_t k_name_bytes_max = 128;
inline constexpr std::size_t k_cluster_name_bytes_max = 64;

// Error texts, so that a failure never carries a gigabyte home.
inline constexpr std::size_t k_error_text_bytes_max = 32 * 1024;
inline constexpr std::size_t k_stderr_tail_bytes = 64 * 1024;

// What is kept of a worker's stdout and stderr files; more is cut from their front.
inline constexpr std::uint64_t k_log_file_bytes_kept = 8 * 1024 * 1024;
inline constexpr std::chrono::hours k_log_age_max{7 * 24};
inline constexpr std::size_t k_webhook_bytes_max = 2048;
inline constexpr std::size_t k_run_code_bytes_max = 16 * 1024 * 1024;

// Runs. The journal's queue is bounded for whoever asks; what running attempts have to tell is bounded by their number and their
// output windows.
inline constexpr std::size_t k_runs_active_max = 4096;
inline constexpr std::size_t k_journal_queue_max = 4096;
inline constexpr std::size_t k_journal_batch_max = 512;
inline constexpr std::uint64_t k_run_body_bytes_max = std::uint64_t{1} << 30;
// Bodies beyond this stand in files beside the journal.
inline constexpr std::uint64_t k_run_body_bytes_inline = 256 * 1024;
inline constexpr std::uint64_t k_run_log_bytes_kept = 8 * 1024 * 1024;
inline constexpr std::size_t k_run_shown_bytes_max = 512;  // of its arguments, for people
inline constexpr std::size_t k_runs_listed_max = 1000;
// How long an ended run is kept, how much one may hold, and all of them; a run may be started with other bounds of its own.
inline constexpr std::chrono::hours k_run_age_max{30 * 24};
inline constexpr std::uint64_t k_run_bytes_max = std::uint64_t{1} << 30;
inline constexpr std::uint64_t k_runs_bytes_max = std::uint64_t{8} << 30;
inline constexpr seconds k_journal_prune_pause{60};
inline constexpr milliseconds k_journal_idle{1'000};  // then what it has written is moved from its WAL into the file
inline constexpr milliseconds k_run_store_pause{1'000};  // before an end that could not be stored is tried again

// Code. What one snapshot may hold: beyond this a project is refused before it is read, and so is a manifest that claims it.
inline constexpr std::size_t k_sync_entries_max = 100'000;
inline constexpr std::uint64_t k_sync_bytes_max = std::uint64_t{1} << 30;
inline constexpr std::size_t k_sync_path_bytes_max = 1024;  // of an entry's path, and of a link's target
inline constexpr std::size_t k_sync_name_bytes_max = 255;   // of each of its parts, as file systems have it
inline constexpr std::size_t k_sync_manifest_bytes_max = 32 * 1024 * 1024;
inline constexpr std::size_t k_sync_left_out_max = 100;  // named of what a scan could not take
inline constexpr std::size_t k_sync_ignore_file_bytes_max = 1024 * 1024;
inline constexpr std::size_t k_sync_index_bytes_max = 64 * 1024 * 1024;
// One message's share of contents, unpacked: larger files come in several.
inline constexpr std::size_t k_sync_batch_bytes = 8 * 1024 * 1024;
inline constexpr std::size_t k_sync_batch_files_max = 4096;
inline constexpr std::size_t k_sync_queue_max = 256;  // that waits for a node's disk
// How often files that change while they are sent, or are collected just then, are sent again.
inline constexpr int k_sync_rounds_max = 4;
// Snapshots that nothing needs: the last few are kept, and those that somebody may be about to deploy.
inline constexpr std::size_t k_sync_kept = 4;
inline constexpr seconds k_sync_grace{120};

// Fork servers: so many at once, and how long one that nobody wants stays; after so many deaths within that time none begins.
inline constexpr std::size_t k_fork_servers_max = 4;
inline constexpr std::size_t k_fork_server_deaths_max = 5;
inline constexpr std::chrono::minutes k_fork_server_idle{10};
inline constexpr milliseconds k_fork_servers_pause{30'000};
// One that has made no process for so long does not answer.
inline constexpr milliseconds k_fork_timeout{5'000};
// What one message to or from a fork server may have; an environment that is longer is for a process of its own.
inline constexpr std::size_t k_fork_message_bytes_max = 160 * 1024;

// Waits.
inline constexpr milliseconds k_start_timeout{20'000};
inline constexpr milliseconds k_worker_start_timeout{60'000};
inline constexpr milliseconds k_stop_grace{2'000};
inline constexpr milliseconds k_cancel_grace{2'000};
// A connection that was lost may be made anew for so long, and its calls go on; after that they are given up on both sides.
inline constexpr milliseconds k_resume_grace{30'000};
inline constexpr milliseconds k_resume_pause{20};
// Clients of a restarted daemon wait so long for the workers to tell what runs in them.
inline constexpr milliseconds k_restore_timeout{5'000};
// For other processes that use the registry of this machine, or rename clusters.
inline constexpr milliseconds k_registry_wait{5'000};

// Waiting for an answer (measured in benchmarks/): spin this long, then block.
inline constexpr microseconds k_spin{60};
// A call that lasts longer than this, give or take, gives up the right to read its worker's socket.
inline constexpr microseconds k_watch_tick{200};
inline constexpr microseconds k_watch_tick_max{5'000};
// What a call does just now: a language that does not answer for so long is read without its lock, threads answer all at once, and
// what a worker has not told by then is not told at all.
inline constexpr milliseconds k_stack_language_wait{1'000};
inline constexpr milliseconds k_stack_threads_wait{300};
inline constexpr milliseconds k_stack_naming_wait{2'000};
inline constexpr milliseconds k_stack_wait{8'000};
inline constexpr std::size_t k_stack_threads_max = 256;
inline constexpr std::size_t k_stack_bytes_max = 1024 * 1024;
inline constexpr std::size_t k_stack_questions_max = 16;
// Calls and results that come in quick succession leave together, at most this much (and the timer's slack) later.
inline constexpr microseconds k_gather{200};
inline constexpr std::size_t k_gather_bytes = 16 * 1024;
// Items of one generator that come faster than this leave together.
inline constexpr microseconds k_items_gather{200};
inline constexpr std::size_t k_items_batch_bytes = 32 * 1024;
inline constexpr std::size_t k_items_batch_max = 512;

}  // namespace rh::limits
