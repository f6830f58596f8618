#!/usr/bin/env bash
# From a fresh clone to an answer: installs what is missing, builds, starts parrot-server on the
# parrot-tiny, asks about a picture in six languages, prints the answers, stops the server.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

model=$PARROT_ROOT/models/parrot-tiny
picture=$model/example.png  # none of the pictures the model was trained on
questions=(
  'Tell me the color of the triangle.'
  '请说出三角形的颜色。'
  'Diga a cor do triângulo.'
  'اذكر لون المثلث.'
  'Üçgenin rengini söyleyin.'
  'Назовите цвет треугольника.'
)
bin=$PARROT_ROOT/build/release/bin

"$PARROT_ROOT/scripts/build.sh" release

# Free ports, so that a server that runs already is left alone.
read -r grpc_port http_port admin_port < <(python3 - <<'PY'
import socket
sockets = [socket.socket() for _ in range(3)]
for s in sockets:
    s.bind(("127.0.0.1", 0))
print(*(s.getsockname()[1] for s in sockets))
PY
)
log=$(mktemp)
server=
stop_server() {
  if [ -n "$server" ] && kill -0 "$server" 2>/dev/null; then
    kill -TERM "$server" 2>/dev/null || true
    wait "$server" 2>/dev/null || true
  fi
  rm -f "$log"
}
trap stop_server EXIT
trap 'exit 130' INT TERM

say "starting parrot-server (gRPC 127.0.0.1:$grpc_port, HTTP 127.0.0.1:$http_port)"
"$bin/parrot-server" --model "$model" --grpc-port "$grpc_port" --http-port "$http_port" \
  --admin-address "127.0.0.1:$admin_port" --lame-duck 0s >"$log" 2>&1 &
server=$!
# --wait would go on waiting for a server that died at start, so both are watched.
"$bin/parrot-cli" health --target "127.0.0.1:$grpc_port" --wait 120s >/dev/null &
waiter=$!
while kill -0 "$waiter" 2>/dev/null && kill -0 "$server" 2>/dev/null; do sleep 0.1; done
kill -0 "$server" 2>/dev/null && wait "$waiter" || {
  kill "$waiter" 2>/dev/null || true
  cat "$log" >&2
  die "the server did not become healthy"
}

say "asking about $picture (a yellow triangle)"
for question in "${questions[@]}"; do
  "$bin/parrot-cli" generate --target "127.0.0.1:$grpc_port" --image "$picture" --json \
    --prompt "$question" --max-tokens 16 |
    QUESTION=$question python3 -c '
import json, os, sys
answer = json.load(sys.stdin)
weights = " ".join(f"{weight:.2f}" for weight in answer["routing"][0])
print(f"{os.environ['"'QUESTION'"']}  {answer['"'text'"'].strip()}  experts {weights}")'
done
echo "The router started from the prompt's language; in training one expert came to lead in all six." >&2

say "stopping the server"
kill -TERM "$server"
wait "$server" || die "the server did not stop cleanly"
server=
say "done. Next: $bin/parrot-server --model DIR, and docs/real-checkpoints.md for real weights"
