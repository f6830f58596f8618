#include "server/grpc/control_service.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "base/error_status.h"
#include "base/status_macros.h"
#include "server/frontend/option_checks.h"
#include "server/grpc/inline_answer.h"
#include "server/grpc/response_conversion.h"

namespace parrot {
namespace {

constexpr int64_t kMaxAbortIds = 1024;
constexpr absl::Duration kMaxDrainTimeout = absl::Hours(24);
// Drains that wait at the same time; one is enough, more are a mistake.
constexpr size_t kMaxDrains = 4;

v1::ServerState ToProto(ServerState state) {
  switch (state) {
    case ServerState::kStarting:
      return v1::SERVER_STATE_STARTING;
    case ServerState::kReady:
      return v1::SERVER_STATE_READY;
    case ServerState::kDraining:
      return v1::SERVER_STATE_DRAINING;
    case ServerState::kFailed:
      return v1::SERVER_STATE_FAILED;
  }
  return v1::SERVER_STATE_UNSPECIFIED;
}

void FillWorker(const EngineLoad& load, v1::WorkerLoad& worker) {
  worker.set_alive(load.health.ok());
  worker.set_num_requests_running(load.num_running);
  worker.set_num_requests_waiting(load.num_waiting);
  worker.set_num_outstanding_tokens(load.num_outstanding_tokens);
  worker.set_num_kv_blocks_total(load.num_blocks_total);
  worker.set_num_kv_blocks_used(load.num_blocks_used);
  worker.set_num_kv_blocks_cached(load.num_blocks_cached);
  worker.set_num_cached_images(load.num_vision_entries);
  worker.set_steps_total(load.num_steps);
  worker.set_failed_steps_total(load.num_failed_steps);
}

}  // namespace

ControlService::ControlService(ControlServiceOptions options, Logger* logger)
    : options_(std::move(options)),
      environment_{.service = v1::ParrotControlService::service_full_name(), .logger = logger},
      start_(absl::Now()) {}

ControlService::~ControlService() {
  std::list<DrainThread> drains;
  {
    absl::MutexLock lock(&mutex_);
    drains.swap(drains_);
  }
  for (DrainThread& drain : drains) drain.thread.join();
}

ControlService::Reactor* ControlService::GetServerInfo(Context* context,
                                                       const Bytes* request,
                                                       Bytes* response) {
  RpcCall rpc(context, "GetServerInfo", &environment_, frontend_.load());
  v1::GetServerInfoRequest parsed;
  const absl::Status status = rpc.Parse(*request, parsed);
  if (status.ok()) {
    v1::GetServerInfoResponse info;
    FillServerInfo(info);
    *response = ToByteBuffer(info);
    rpc.AddInitialMetadata();
  }
  Reactor* reactor = context->DefaultReactor();
  reactor->Finish(rpc.Close(status));
  return reactor;
}

ControlService::Reactor* ControlService::GetLoad(Context* context,
                                                 const Bytes* request,
                                                 Bytes* response) {
  Frontend* frontend = frontend_.load();
  return AnswerInline<v1::GetLoadRequest, v1::GetLoadResponse>(
      RpcCall(context, "GetLoad", &environment_, frontend),
      context,
      *request,
      response,
      [this, frontend](const v1::GetLoadRequest&, v1::GetLoadResponse& out) {
        FillLoad(*frontend, out);
        return absl::OkStatus();
      });
}

ControlService::Reactor* ControlService::Abort(Context* context,
                                               const Bytes* request,
                                               Bytes* response) {
  Frontend* frontend = frontend_.load();
  return AnswerInline<v1::AbortRequest, v1::AbortResponse>(
      RpcCall(context, "Abort", &environment_, frontend),
      context,
      *request,
      response,
      [this, frontend](const v1::AbortRequest& in, v1::AbortResponse& out) -> absl::Status {
        RETURN_IF_ERROR(CheckRange("request_ids", int64_t{in.request_ids_size()}, 1, kMaxAbortIds));
        int32_t num_aborted = 0;
        for (const std::string& id : in.request_ids()) num_aborted += frontend->Abort(id);
        out.set_num_aborted(num_aborted);
        Log("abort");
        return absl::OkStatus();
      });
}

ControlService::Reactor* ControlService::Drain(Context* context,
                                               const Bytes* request,
                                               Bytes* response) {
  Frontend* frontend = frontend_.load();
  auto rpc = std::make_shared<RpcCall>(context, "Drain", &environment_, frontend);
  Reactor* reactor = context->DefaultReactor();
  v1::DrainRequest parsed;
  absl::Status status = rpc->Open(*request, parsed).status();
  absl::Duration timeout = options_.drain_timeout;
  if (status.ok() && parsed.has_timeout_ms()) {
    status = CheckRange(
        "timeout_ms", parsed.timeout_ms(), 0, absl::ToInt64Milliseconds(kMaxDrainTimeout));
    timeout = absl::Milliseconds(parsed.timeout_ms());
  }
  if (status.ok()) {
    status = WaitApart([this, frontend, rpc, reactor, response, timeout] {
      Log("drain");
      v1::DrainResponse drained;
      drained.set_all_finished(frontend->Drain(timeout));
      *response = ToByteBuffer(drained);
      rpc->AddInitialMetadata();
      reactor->Finish(rpc->Close(absl::OkStatus()));
    });
  }
  if (!status.ok()) reactor->Finish(rpc->Close(status));
  return reactor;
}

absl::Status ControlService::WaitApart(std::function<void()> drain) {
  std::list<DrainThread> finished;
  absl::Status status;
  {
    absl::MutexLock lock(&mutex_);
    for (auto it = drains_.begin(); it != drains_.end();) {
      const auto next = std::next(it);
      if (it->is_done.load()) finished.splice(finished.end(), drains_, it);
      it = next;
    }
    if (drains_.size() >= kMaxDrains) {
      status = ErrorStatus(absl::StatusCode::kResourceExhausted,
                           "other calls drain this server already",
                           {.reason = "TOO_MANY_REQUESTS", .retry_after = absl::Seconds(1)});
    } else {
      DrainThread& entry = drains_.emplace_back();
      entry.thread = std::thread([drain = std::move(drain), &entry] {
        drain();
        entry.is_done.store(true);
      });
    }
  }
  for (DrainThread& entry : finished) entry.thread.join();
  return status;
}

ControlService::Reactor* ControlService::Pause(Context* context,
                                               const Bytes* request,
                                               Bytes* response) {
  Frontend* frontend = frontend_.load();
  return AnswerInline<v1::PauseRequest, v1::PauseResponse>(
      RpcCall(context, "Pause", &environment_, frontend),
      context,
      *request,
      response,
      [this, frontend](const v1::PauseRequest&, v1::PauseResponse&) {
        frontend->Pause();
        Log("pause");
        return absl::OkStatus();
      });
}

ControlService::Reactor* ControlService::Resume(Context* context,
                                                const Bytes* request,
                                                Bytes* response) {
  Frontend* frontend = frontend_.load();
  return AnswerInline<v1::ResumeRequest, v1::ResumeResponse>(
      RpcCall(context, "Resume", &environment_, frontend),
      context,
      *request,
      response,
      [this, frontend](const v1::ResumeRequest&, v1::ResumeResponse&) {
        frontend->Resume();
        Log("resume");
        return absl::OkStatus();
      });
}

ControlService::Reactor* ControlService::FlushCache(Context* context,
                                                    const Bytes* request,
                                                    Bytes* response) {
  Frontend* frontend = frontend_.load();
  return AnswerInline<v1::FlushCacheRequest, v1::FlushCacheResponse>(
      RpcCall(context, "FlushCache", &environment_, frontend),
      context,
      *request,
      response,
      [this, frontend](const v1::FlushCacheRequest&, v1::FlushCacheResponse&) {
        frontend->FlushCache();
        Log("flush_cache");
        return absl::OkStatus();
      });
}

void ControlService::Log(const char* action) const {
  if (environment_.logger != nullptr) environment_.logger->Info("control", {{"action", action}});
}

void ControlService::FillServerInfo(v1::GetServerInfoResponse& info) const {
  info.set_server_version(options_.server_version);
  info.set_schema_revision(kSchemaRevision);
  info.set_state(ToProto(options_.state()));
  info.set_uptime_seconds(absl::ToDoubleSeconds(absl::Now() - start_));
  info.set_kv_block_size(options_.kv_block_size);
  info.set_max_num_seqs(options_.max_num_seqs);
  info.set_max_num_batched_tokens(options_.max_num_batched_tokens);
  info.mutable_config()->insert(options_.config.begin(), options_.config.end());
  Frontend* frontend = frontend_.load();
  if (frontend == nullptr) return;
  const EngineLoad load = frontend->load();
  info.set_num_requests_running(load.num_running);
  info.set_num_requests_waiting(load.num_waiting);
  info.set_num_kv_blocks_total(load.num_blocks_total);
  info.set_num_kv_blocks_used(load.num_blocks_used);
  const absl::StatusOr<ModelInfo> model = frontend->GetModelInfo(std::nullopt);
  if (model.ok()) FillModelInfo(*model, *info.mutable_model());
}

void ControlService::FillLoad(const Frontend& frontend, v1::GetLoadResponse& response) const {
  const EngineLoad load = frontend.load();
  response.set_state(ToProto(options_.state()));
  response.set_paused(load.paused);
  response.set_num_requests_live(frontend.live_requests());
  response.set_num_requests_running(load.num_running);
  response.set_num_requests_waiting(load.num_waiting);
  response.set_num_waiting_tokens(load.num_waiting_tokens);
  response.set_num_outstanding_tokens(load.num_outstanding_tokens);
  response.set_image_bytes(frontend.image_bytes());
  response.set_num_kv_blocks_total(load.num_blocks_total);
  response.set_num_kv_blocks_used(load.num_blocks_used);
  response.set_num_kv_blocks_cached(load.num_blocks_cached);
  response.set_num_cached_images(load.num_vision_entries);
  response.set_prefix_query_tokens_total(load.num_prefix_query_tokens);
  response.set_prefix_hit_tokens_total(load.num_prefix_hit_tokens);
  response.set_image_queries_total(load.num_vision_queries);
  response.set_image_hits_total(load.num_vision_hits);
  response.set_preemptions_total(load.num_preemptions);
  response.set_retries_total(load.num_retries);
  response.set_steps_total(load.num_steps);
  response.set_failed_steps_total(load.num_failed_steps);
  response.set_prompt_tokens_total(load.num_prompt_tokens);
  response.set_generation_tokens_total(load.num_generated_tokens);
  response.set_last_step_tokens(load.last_step_tokens);
  response.set_prefix_evictions_total(load.num_prefix_evictions);
  response.set_image_evictions_total(load.num_vision_evictions);
  const StepTimePredictor::Coefficients learned = load.predictor.coefficients();
  v1::StepTimePrediction& prediction = *response.mutable_prediction();
  prediction.set_step_seconds(learned.step);
  prediction.set_token_seconds(learned.token);
  prediction.set_image_seconds(learned.image);
  prediction.set_mean_relative_error(load.predictor.mean_relative_error());
  prediction.set_steps_observed(load.predictor.num_observed());
  for (const EngineLoad& worker : frontend.worker_loads()) {
    FillWorker(worker, *response.add_workers());
  }
  const ImageStore::Stats images = frontend.image_store();
  response.set_image_store_bytes(images.num_bytes);
  response.set_image_store_images(images.num_images);
  response.set_image_store_queries_total(images.num_queries);
  response.set_image_store_hits_total(images.num_hits);
  response.set_image_store_evictions_total(images.num_evictions);
  if (!load.step_in_flight) return;
  const absl::Duration age = absl::Now() - load.oldest_step_start;
  response.set_step_in_flight_seconds(absl::ToDoubleSeconds(std::max(age, absl::ZeroDuration())));
}

}  // namespace parrot
