#include "server/grpc/control_service.h"

#include <optional>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "server/grpc/response_conversion.h"

namespace parrot {
namespace {

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

}  // namespace

ControlService::ControlService(ControlServiceOptions options, Logger* logger)
    : options_(std::move(options)),
      environment_{.service = v1::ParrotControlService::service_full_name(), .logger = logger},
      start_(absl::Now()) {}

grpc::ServerUnaryReactor* ControlService::GetServerInfo(grpc::CallbackServerContext* context,
                                                        const grpc::ByteBuffer* request,
                                                        grpc::ByteBuffer* response) {
  RpcCall rpc(context, "GetServerInfo", &environment_, frontend_.load());
  v1::GetServerInfoRequest parsed;
  const absl::Status status = rpc.Parse(*request, parsed);
  if (status.ok()) {
    v1::GetServerInfoResponse info;
    Fill(info);
    *response = ToByteBuffer(info);
    rpc.AddInitialMetadata();
  }
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(rpc.Close(status));
  return reactor;
}

void ControlService::Fill(v1::GetServerInfoResponse& info) const {
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

}  // namespace parrot
