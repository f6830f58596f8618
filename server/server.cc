#include "server/server.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "server/http/monitoring_routes.h"
#include "server/options/human_units.h"
#include "server/options/options_text.h"

namespace parrot {
namespace {

constexpr absl::Duration kWarmUpTimeout = absl::Minutes(10);
constexpr absl::Duration kWatchInterval = absl::Milliseconds(200);
constexpr absl::Duration kKeyReloadInterval = absl::Seconds(1);
// Of the time for shutdown, kept for closing the ports after the drain.
constexpr absl::Duration kCloseReserve = absl::Seconds(1);

bool IsLoopback(const std::string& host) {
  return host == "localhost" || host == "::1" || host == "[::1]" || absl::StartsWith(host, "127.");
}

absl::Status ForOption(const std::string& option, const absl::Status& status) {
  return absl::Status(status.code(),
                      absl::StrCat("--", option, ": ", std::string(status.message())));
}

}  // namespace

const char* ServerVersion() { return PARROT_VERSION; }

absl::StatusOr<std::unique_ptr<Server>> Server::Listen(const Options& options,
                                                       const ServerEnvironment& environment) {
  std::unique_ptr<Server> server(new Server(options, environment));
  RETURN_IF_ERROR(server->OpenPorts());
  return server;
}

Server::Server(const Options& options, const ServerEnvironment& environment)
    : options_(options), logger_(*environment.logger) {}

Server::~Server() {
  if (!is_shut_down_) Shutdown(absl::ZeroDuration());
  StopThreads();
}

int32_t Server::max_queue_size() const {
  return options_.max_queue_size > 0 ? options_.max_queue_size
                                     : 4 * options_.max_num_seqs * num_workers();
}

ServerState Server::state() const {
  Frontend* frontend = serving_.load();
  const ServerState state =
      frontend == nullptr ? ServerState::kStarting : frontend->lifecycle().state();
  return lame_duck_.load() && state != ServerState::kFailed ? ServerState::kDraining : state;
}

// -- Ports ----------------------------------------------------------------------------------------

absl::Status Server::OpenPorts() {
  absl::StatusOr<std::unique_ptr<Authenticator>> authenticator = Authenticator::Create(
      {.api_key_file = options_.api_key_file, .trust_tenant_header = options_.trust_tenant_header});
  if (!authenticator.ok()) return ForOption("api-key-file", authenticator.status());
  authenticator_ = *std::move(authenticator);
  RETURN_IF_ERROR(OpenHttp());
  RETURN_IF_ERROR(OpenGrpc());
  if (!options_.admin_address.empty()) RETURN_IF_ERROR(OpenAdmin());
  logger_.Info("listening",
               {{"grpc", JoinHostPort(options_.host, grpc_port())},
                {"http", JoinHostPort(options_.host, http_port())},
                {"admin_port", admin_port()},
                {"tls", !options_.ssl_certfile.empty()},
                {"client_certificates", !options_.ssl_ca_certs.empty()},
                {"api_keys", authenticator_->num_keys()}});
  return absl::OkStatus();
}

absl::Status Server::OpenHttp() {
  MonitoringSource source;
  source.version = ServerVersion();
  source.health = [this] {
    const ServerState now = state();
    return MonitoringSource::Health{.ready = now == ServerState::kReady,
                                    .state = ServerStateName(now)};
  };
  source.metrics = [this]() -> std::optional<std::string> {
    Frontend* frontend = serving_.load();
    if (frontend == nullptr) return std::nullopt;
    return frontend->metrics().Render();
  };
  HttpServerOptions http;
  http.host = options_.host;
  http.port = options_.http_port;
  absl::StatusOr<std::unique_ptr<HttpServer>> server =
      HttpServer::Start(http, MonitoringRoutes(source));
  if (!server.ok()) return ForOption("http-port", server.status());
  http_ = *std::move(server);
  return absl::OkStatus();
}

absl::Status Server::OpenGrpc() {
  GenerationServiceOptions generation;
  generation.wire_limits.max_fields = FrontendLimits().max_wire_fields;
  generation.stall_timeout = options_.client_stall_timeout;
  generation.log_requests = options_.log_requests;
  generation_service_ =
      std::make_unique<GenerationService>(generation, authenticator_.get(), &logger_);
  health_service_ = std::make_unique<HealthService>();
  GrpcServerOptions grpc;
  grpc.host = options_.host;
  grpc.port = options_.grpc_port;
  grpc.tls = {.certificate_file = options_.ssl_certfile,
              .key_file = options_.ssl_keyfile,
              .client_ca_file = options_.ssl_ca_certs,
              .reload = options_.enable_ssl_refresh};
  grpc.enable_reflection = options_.enable_reflection == "true" ||
                           (options_.enable_reflection == "auto" && IsLoopback(options_.host));
  grpc.max_receive_message_bytes = options_.grpc_max_message_bytes;
  grpc.max_concurrent_streams = options_.grpc_max_concurrent_streams;
  grpc.keepalive_time = options_.grpc_keepalive_time;
  grpc.max_connection_age = options_.grpc_max_connection_age;
  grpc.max_connection_age_grace = options_.grpc_max_connection_age_grace;
  absl::StatusOr<std::unique_ptr<GrpcServer>> server =
      GrpcServer::Start(grpc, {generation_service_.get(), health_service_.get()});
  if (!server.ok()) {
    const bool is_tls = server.status().code() == absl::StatusCode::kInvalidArgument;
    return ForOption(is_tls ? "ssl-certfile" : "grpc-port", server.status());
  }
  grpc_ = *std::move(server);
  return absl::OkStatus();
}

absl::Status Server::OpenAdmin() {
  ControlServiceOptions control;
  control.server_version = ServerVersion();
  control.config = OptionValues(options_);
  control.kv_block_size = options_.block_size;
  control.max_num_seqs = options_.max_num_seqs;
  control.max_num_batched_tokens = options_.max_num_batched_tokens;
  control.drain_timeout = options_.shutdown_timeout;
  control.state = [this] { return state(); };
  control_service_ = std::make_unique<ControlService>(std::move(control), &logger_);
  GrpcServerOptions grpc;
  const size_t colon = options_.admin_address.rfind(':');
  grpc.host = options_.admin_address.substr(0, colon);
  if (!absl::SimpleAtoi(options_.admin_address.substr(colon + 1), &grpc.port)) {
    return absl::InvalidArgumentError("--admin-address: must be HOST:PORT");
  }
  grpc.enable_reflection = IsLoopback(grpc.host);
  absl::StatusOr<std::unique_ptr<GrpcServer>> server =
      GrpcServer::Start(grpc, {control_service_.get()});
  if (!server.ok()) return ForOption("admin-address", server.status());
  admin_ = *std::move(server);
  return absl::OkStatus();
}

// -- Serving --------------------------------------------------------------------------------------

EngineOptions Server::MakeEngineOptions() const {
  const ExecutorCapacity& capacity = worker_capacity();
  EngineOptions engine;
  engine.max_num_seqs = std::min(options_.max_num_seqs, capacity.max_slots);
  engine.max_num_batched_tokens =
      std::min(options_.max_num_batched_tokens, capacity.max_step_tokens);
  engine.max_images_per_step = std::min(options_.max_images_per_step, capacity.max_step_images);
  engine.max_model_len =
      options_.max_model_len > 0 ? options_.max_model_len : model_.config.model_max_length;
  // The front end keeps to the limit of all; here a part rounded up does not come in its way.
  engine.max_queue_size = (max_queue_size() + num_workers() - 1) / num_workers();
  engine.enable_prefix_caching = options_.enable_prefix_caching;
  engine.model_revision = model_.config.revision;
  const bool keeps_images = options_.vision_cache_level != "off";
  engine.vision_cache_memory_bytes =
      keeps_images ? options_.vision_cache_memory_bytes / num_workers() : 0;
  engine.priority_aging_interval = options_.priority_aging;
  engine.max_step_time = options_.max_step_time;
  engine.queue_timeout = options_.queue_timeout;
  return engine;
}

FrontendOptions Server::MakeFrontendOptions() const {
  const ExecutorCapacity& capacity = worker_capacity();
  FrontendOptions frontend;
  frontend.model = model_.config;
  frontend.served_names = options_.served_model_names;
  if (frontend.served_names.empty()) frontend.served_names = {model_.default_name};
  frontend.server_version = ServerVersion();
  frontend.device = model_.device;
  frontend.dtype = model_.dtype;
  frontend.backend = model_.backend;
  frontend.num_parameters = model_.num_parameters;
  frontend.limits.max_model_len = MakeEngineOptions().max_model_len;
  frontend.limits.max_images = options_.max_images_per_prompt;
  frontend.limits.default_timeout = options_.request_timeout;
  frontend.limits.max_timeout = options_.max_request_timeout;
  frontend.limits.deadline_margin = options_.deadline_margin;
  frontend.limits.max_receive_message_bytes = options_.grpc_max_message_bytes;
  frontend.capacity.num_preprocess_threads = options_.preprocess_threads;
  frontend.capacity.image_store_bytes = options_.image_store_memory_bytes;
  frontend.capacity.stall_timeout = options_.client_stall_timeout;
  frontend.max_engine_queue = max_queue_size();
  frontend.block_size = capacity.block_size;
  frontend.num_blocks = capacity.num_blocks * num_workers();
  frontend.caches_experts = capacity.caches_experts;
  frontend.with_vllm_metrics = options_.metrics_compat == "vllm";
  frontend.default_seed = static_cast<uint64_t>(options_.seed);
  return frontend;
}

absl::Status Server::BuildEngines() {
  const int32_t longest = model_.config.language.max_position_embeddings;
  if (options_.max_model_len > longest) {
    return absl::InvalidArgumentError(absl::StrCat("--max-model-len: ",
                                                   options_.max_model_len,
                                                   " exceeds the model's ",
                                                   longest,
                                                   " positions"));
  }
  const int64_t image_side = model_.config.vision.image_size;
  const int64_t stored_image_bytes = ImageStore::CostOf(3 * image_side * image_side);
  const int64_t store_bytes = options_.image_store_memory_bytes;
  if (store_bytes > 0 && store_bytes < stored_image_bytes) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--image-store-memory: ", store_bytes, " bytes, one image takes ", stored_image_bytes));
  }
  const FrontendOptions frontend_options = MakeFrontendOptions();
  const FrontendLimits& limits = frontend_options.limits;
  DecodeOptions decode;
  decode.apply_exif_orientation = options_.apply_exif_orientation;
  decode.limits.max_encoded_bytes = static_cast<size_t>(limits.max_image_bytes);
  decode.limits.max_images = limits.max_images;
  decode.limits.max_total_bytes = static_cast<size_t>(limits.max_total_image_bytes);
  decode.limits.max_pixels = limits.max_image_pixels;
  decode.limits.max_side = limits.max_image_side;
  chat_template_ = std::make_unique<ChatTemplate>(*model_.tokenizer);
  image_processor_ = std::make_unique<ClipImageProcessor>(
      model_.config.image_processor, model_.config.vision.image_size, decode);
  frontend_ = std::make_unique<Frontend>(
      frontend_options,
      FrontendModels{model_.tokenizer.get(), chat_template_.get(), image_processor_.get()},
      &Clock::Real());
  std::vector<Engine*> engines;
  for (const std::unique_ptr<ModelExecutor>& executor : model_.executors) {
    engines_.push_back(std::make_unique<Engine>(
        MakeEngineOptions(), executor.get(), frontend_->event_sink(), &Clock::Real()));
    engines_.back()->Start();
    engines.push_back(engines_.back().get());
  }
  dispatcher_ = std::make_unique<Dispatcher>(std::move(engines));
  frontend_->Start(EngineClientOf(*dispatcher_));
  return absl::OkStatus();
}

absl::Status Server::WarmUp() {
  for (int i = 0; i < num_workers(); ++i) {
    dispatcher_->SendAllTo(i);
    const absl::Status status = frontend_->WarmUp(kWarmUpTimeout);
    if (!status.ok()) {
      return absl::Status(status.code(),
                          absl::StrCat("warm-up failed: ", std::string(status.message())));
    }
  }
  dispatcher_->SendAllTo(std::nullopt);
  return absl::OkStatus();
}

absl::Status Server::Serve(ServedModel model) {
  model_ = std::move(model);
  PARROT_CHECK(!model_.executors.empty());
  RETURN_IF_ERROR(BuildEngines());
  serving_.store(frontend_.get());
  const absl::Time start = absl::Now();
  RETURN_IF_ERROR(WarmUp());
  generation_service_->SetFrontend(frontend_.get());
  if (control_service_ != nullptr) control_service_->SetFrontend(frontend_.get());
  watcher_ = std::thread([this] { Watch(); });
  frontend_->lifecycle().Set(ServerState::kReady);
  frontend_->lifecycle().AddListener([this](ServerState state) {
    health_service_->SetReady(state == ServerState::kReady && !lame_duck_.load());
    health_service_->SetAlive(state != ServerState::kFailed);
  });
  const ExecutorCapacity& capacity = worker_capacity();
  logger_.Info("ready",
               {{"model", MakeFrontendOptions().served_names.front()},
                {"device", model_.device},
                {"dtype", model_.dtype},
                {"parameters", model_.num_parameters},
                {"max_model_len", MakeEngineOptions().max_model_len},
                {"workers", num_workers()},
                {"kv_blocks", capacity.num_blocks * num_workers()},
                {"block_size", capacity.block_size},
                {"warm_up_seconds", absl::Now() - start}});
  return absl::OkStatus();
}

// The front end sees that all engines are dead when a request fails; this sees it without requests
// too, notices a step that never ends, and tells of each worker that dies.
absl::Status Server::EngineFailure() {
  for (int i = 0; i < num_workers(); ++i) {
    const EngineLoad load = dispatcher_->load(i);
    if (load.health.ok() || !dead_workers_.insert(i).second) continue;
    logger_.Error("worker_died",
                  {{"worker", i},
                   {"workers", num_workers()},
                   {"cause", std::string(load.last_failure.message())}});
  }
  const EngineLoad load = dispatcher_->TotalLoad();
  if (!load.health.ok()) return load.health;
  if (!load.step_in_flight || absl::Now() - load.oldest_step_start <= options_.step_timeout) {
    return absl::OkStatus();
  }
  return absl::DeadlineExceededError(
      absl::StrCat("a step runs for longer than ", FormatHumanDuration(options_.step_timeout)));
}

// Keys come and go without a restart. A file that is being written, or wrong, changes nothing.
void Server::ReloadKeys() {
  const absl::Status status = authenticator_->Reload();
  if (status == last_key_reload_) return;
  last_key_reload_ = status;
  if (status.ok()) {
    logger_.Info("api_keys_reloaded", {{"api_keys", authenticator_->num_keys()}});
  } else {
    logger_.Warning("api_keys_not_reloaded", {{"cause", std::string(status.message())}});
  }
}

void Server::Watch() {
  absl::Time next_key_reload = absl::Now() + kKeyReloadInterval;
  absl::MutexLock lock(&mutex_);
  while (!mutex_.AwaitWithTimeout(absl::Condition(&stop_watching_), kWatchInterval)) {
    mutex_.Unlock();
    absl::Status failure = EngineFailure();
    if (!failure.ok()) frontend_->lifecycle().Set(ServerState::kFailed);
    if (absl::Now() >= next_key_reload) {
      ReloadKeys();
      next_key_reload = absl::Now() + kKeyReloadInterval;
    }
    mutex_.Lock();
    if (!failure.ok()) {
      failure_ = std::move(failure);
      return;
    }
  }
}

void Server::RequestShutdown() {
  absl::MutexLock lock(&mutex_);
  shutdown_requested_ = true;
}

absl::Status Server::Wait() {
  const auto is_over = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return shutdown_requested_ || !failure_.ok();
  };
  absl::MutexLock lock(&mutex_);
  mutex_.Await(absl::Condition(&is_over));
  return failure_;
}

// -- Shutdown -------------------------------------------------------------------------------------

bool Server::Shutdown(absl::Duration lame_duck) {
  const absl::Time deadline = absl::Now() + options_.shutdown_timeout;
  is_shut_down_ = true;
  lame_duck_.store(true);
  if (health_service_ != nullptr) health_service_->SetReady(false);
  const bool is_serving = serving_.load() != nullptr && state() != ServerState::kFailed;
  logger_.Info("shutdown_started",
               {{"running", is_serving ? frontend_->live_requests() : 0},
                {"lame_duck_seconds", is_serving ? lame_duck : absl::ZeroDuration()}});
  bool is_clean = true;
  if (is_serving) {
    {
      // Wakes early if the engine dies meanwhile.
      const auto has_failed = [this]()
                                  ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return !failure_.ok(); };
      absl::MutexLock lock(&mutex_);
      mutex_.AwaitWithTimeout(absl::Condition(&has_failed), lame_duck);
    }
    is_clean =
        frontend_->Drain(std::max(deadline - absl::Now() - kCloseReserve, absl::ZeroDuration()));
  }
  ClosePorts(std::max(deadline, absl::Now() + kCloseReserve));
  StopThreads();
  logger_.Info("shutdown_finished", {{"all_requests_finished", is_clean}});
  return is_clean;
}

void Server::StopThreads() {
  {
    absl::MutexLock lock(&mutex_);
    stop_watching_ = true;
  }
  if (watcher_.joinable()) watcher_.join();
  for (const std::unique_ptr<Engine>& engine : engines_) engine->Stop();
  if (frontend_ != nullptr) frontend_->Stop();
}

void Server::Abandon() {
  is_shut_down_ = true;
  lame_duck_.store(true);
  if (frontend_ != nullptr) {
    frontend_->lifecycle().Set(ServerState::kFailed);
    frontend_->Drain(absl::ZeroDuration());
  }
  ClosePorts(absl::Now() + kCloseReserve);
}

void Server::ClosePorts(absl::Time deadline) {
  if (health_service_ != nullptr) health_service_->Shutdown();
  if (grpc_ != nullptr) grpc_->Shutdown(deadline);
  if (admin_ != nullptr) admin_->Shutdown(deadline);
  // Last: until now /health has said 503 and /metrics has shown the drain.
  if (http_ != nullptr) http_->Stop();
}

}  // namespace parrot
