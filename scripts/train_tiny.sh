#!/usr/bin/env bash
# Makes parrot-tiny from nothing: pictures and dialogs, tokenizer, and every stage of the recipe
# below. The model is OUTPUT_DIR/model. The same command goes on where an earlier one stopped.
#   scripts/train_tiny.sh OUTPUT_DIR [--device cuda] [--threads N] [--smoke] [--bin DIR]
# --smoke makes a few steps of each stage: the machinery, not the model. --bin: programs that are
# built already. Exit code 3 when interrupted: what was done is kept.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# ---- The recipe --------------------------------------------------------------------------------
pictures=80000
smoke_pictures=600
vocabulary=2400
scene='--shapes 4 --colors 6'
exam='--heldout 1500 --questions 1360'  # pictures and questions to measure the model on

# Sets of dialogs about these pictures. Pictures alone are drawn for `world`.
data_sets='
# name   options of parrot-world
  basic  --dialogs 1 --choice-percent 0  --single-percent 15 --max-questions 6 --caption-percent 0  --suffix-percent 40 --follow-percent 0 --categories background=2,digit=3,size=3,position=3,color,shape,count
  open   --dialogs 2 --choice-percent 0  --single-percent 15 --max-questions 8 --caption-percent 10 --suffix-percent 40
  mixed  --dialogs 2 --choice-percent 30 --single-percent 15 --max-questions 8 --caption-percent 10 --suffix-percent 40
'
# Each stage starts from the model of the one above. The language model is not trained on text
# first: words that exclude each other, as colours do, then grow alike, and later stages do not tell
# them apart. The router comes before `dense`, which teaches the experts what it sends to them.
# core_ms: milliseconds of one core of a Zen 4 (AVX-512, 2 cores) for a step; smoke: steps of a
# smoke run.
stages='
# name    command   data   batch  rate    steps  smoke  core_ms  more options
  tower   tower     world  16x2   0.001    6000     60      140  --hold 0.6 --feature-cache-gb 0
  router  router    basic  32x2   0.1       100     20      100  --schedule constant
  dense   dense     basic  16x2   0.0015    600     60      180  --hold 0.6
  first   finetune  basic  8x2    0.0005   5000     24      480  --hold 0.95
  joint   finetune  open   8x2    0.0005   9000     24      640  --hold 0.95
  choice  finetune  mixed  8x2    0.0005   7500     24      700  --hold 0.5
'
every_stage='--beta2 0.98 --save-every 500'
probed=joint  # the stage whose speed is measured for the forecast
# ------------------------------------------------------------------------------------------------

usage() { die "usage: train_tiny.sh OUTPUT_DIR [--device cuda] [--threads N] [--smoke] [--bin DIR]"; }
out='' smoke='' device=cpu threads=$(nproc) bin=''
while [ $# -gt 0 ]; do
  case $1 in
    --smoke) smoke=1 && shift ;;
    --device | --threads | --bin)
      [ $# -ge 2 ] || usage
      printf -v "${1#--}" %s "$2" && shift 2 ;;
    -*) usage ;;
    *)
      [ -z "$out" ] || usage
      out=$1 && shift ;;
  esac
done
[ -n "$out" ] || usage
if [ -z "$bin" ]; then
  bin=$PARROT_ROOT/build/release/bin
  "$PARROT_ROOT/scripts/build.sh" release
fi
mkdir -p "$out"
out=$(cd "$out" && pwd)
if [ -n "$smoke" ]; then
  pictures=$smoke_pictures
  exam='--heldout 60 --questions 34'
fi

rows() { grep -v -e '^ *#' -e '^$' <<<"$1"; }

# Runs a program and passes SIGINT and SIGTERM on, so that a stage saves where it is.
child='' signalled=''
on_signal() {
  signalled=1
  [ -z "$child" ] || kill -TERM "$child" 2>/dev/null || true
}
trap on_signal INT TERM
run() {
  local code=0
  "$@" &
  child=$!
  wait "$child" || code=$?
  while [ -n "$signalled" ]; do  # a signal ends `wait`, not the program
    signalled=''
    wait "$child" || true
    code=3
  done
  child=''
  if [ "$code" = 3 ]; then
    say "interrupted: the same command goes on from here"
    exit 3
  fi
  [ "$code" = 0 ] || die "$(basename "$1") ended with $code"
}

# begin NAME PARENTS TEXT: what a folder is made of, and from which others, is kept beside it;
# a folder that another recipe made is refused.
begin() {
  local name=$1 kept=$out/$1.recipe recipe=$3 parent
  for parent in $2; do
    recipe+=$'\n'"from $parent $(cksum <"$out/$parent.recipe")"
  done
  if [ ! -e "$kept" ]; then
    [ ! -e "$out/$name" ] || die "$out/$name is not of this recipe"
    echo "$recipe" >"$kept.partial"
    mv "$kept.partial" "$kept"
  elif [ "$(cat "$kept")" != "$recipe" ]; then
    die "$out/$name is of another recipe: remove $name and $name.recipe, or choose another folder"
  fi
}

# make_folder NAME COMMAND...: COMMAND --output FOLDER, unless the folder is there already.
make_folder() {
  local name=$1
  shift
  [ ! -e "$out/$name" ] || return 0
  say "making $name"
  rm -rf "$out/$name.partial"
  run "$@" --output "$out/$name.partial"
  mv "$out/$name.partial" "$out/$name"
}

# Options of parrot-world; words are split on purpose.
make_world() {
  local name=$1
  shift
  begin "$name" '' "$*"
  make_folder "$name" "$bin/parrot-world" "$@"
}
# shellcheck disable=SC2086
make_data() {
  local common="--train $pictures $scene"
  make_world world $common $exam --dialogs 0
  while read -r name options; do
    make_world "$name" $common --no-images --heldout 0 $options
  done < <(rows "$data_sets")
  begin tokenizer world "$vocabulary"
  make_folder tokenizer "$bin/parrot-world" tokenizer --corpus "$out/world/corpus.txt" \
    --vocab-size "$vocabulary"
  begin fresh tokenizer "$(cat "$PARROT_ROOT"/train/tiny/*.json)"
  make_folder fresh "$bin/parrot-train" init --config "$PARROT_ROOT/train/tiny" \
    --tokenizer "$out/tokenizer"
}

# train FOLDER MODEL ROW [STEPS]: a stage of the table.
train() {
  local folder=$1 model=$2 command data batch rate steps smoke_steps options inputs
  read -r _ command data batch rate steps smoke_steps _ options <<<"$3"
  [ -z "$smoke" ] || steps=$smoke_steps
  case $command in
    tower) inputs=(--scenes "$out/world/train/scenes.jsonl") ;;
    *) inputs=(--data "$out/$data/train/dialogs.json") ;;
  esac
  inputs+=(--image-dir "$out/world/train/images")
  [ "$command" != dense ] ||
    inputs+=(--scenes "$out/world/train/scenes.jsonl" --lexicon "$out/world/lexicon.json")
  # shellcheck disable=SC2086
  run "$bin/parrot-train" "$command" --model "$model" --output "$folder" --resume \
    --device "$device" --threads "$threads" "${inputs[@]}" --micro-batch "${batch%x*}" \
    --accumulation "${batch#*x}" --learning-rate "$rate" --max-steps "${4:-$steps}" \
    $every_stage $options
}

# Seconds that the steps of a stage take on the machine of the table, times the speed factor.
seconds_of() {
  awk -v smoke="$smoke" -v factor="$1" '{ print (smoke ? $7 : $6) * $8 / 2000 * factor }' <<<"$2"
}
clock() { awk -v s="$1" 'BEGIN { printf s < 90 ? "%.0f s" : "%.0f min", s < 90 ? s : s / 60 }'; }

# How much slower than the table's machine this one is: a few steps of one stage, timed as the
# difference of a longer and a shorter run.
measure_speed() {
  local row begin steps seconds=() few=2 more=8
  row=$(rows "$stages" | awk -v name="$probed" '$1 == name')
  say "measuring this machine: $more steps of stage $probed"
  for steps in $few $more; do
    rm -rf "$out/probe"
    begin=$EPOCHREALTIME
    train "$out/probe" "$out/fresh" "$row" "$steps"
    seconds+=("$(awk -v a="$begin" -v b="$EPOCHREALTIME" 'BEGIN { print b - a }')")
  done
  rm -rf "$out/probe"
  factor=$(awk -v few="${seconds[0]}" -v more="${seconds[1]}" -v steps=$((more - few)) \
    '{ print (more - few) / steps / ($8 / 2000) }' <<<"$row")
}

print_forecast() {
  local total=0 row seconds
  say "this machine takes $(printf %.2f "$factor") times as long as the table's; forecast:"
  while read -r row; do
    seconds=$(seconds_of "$factor" "$row")
    say "  $(printf '%-8s' "${row%% *}") $(clock "$seconds")"
    total=$(awk -v a="$total" -v b="$seconds" 'BEGIN { print a + b }')
  done < <(rows "$stages")
  say "  together $(clock "$total")"
}

train_stages() {
  local last=fresh model=$out/fresh row name data begin
  while read -r row <&3; do
    read -r name _ data _ <<<"$row"
    begin "$name" "$last world $data" "$every_stage $(awk -v unused="${smoke:+6}" \
      '{ $(unused ? unused : 7) = $8 = ""; print }' <<<"$row")"
    if [ ! -e "$out/$name/model" ]; then
      if [ -z "$factor" ]; then
        measure_speed
        print_forecast
      fi
      say "stage $name: about $(clock "$(seconds_of "$factor" "$row")")"
      begin=$EPOCHREALTIME
      train "$out/$name" "$model" "$row"
      say "stage $name took $(clock "$(awk -v a="$begin" -v b="$EPOCHREALTIME" \
        'BEGIN { print b - a }')")"
    fi
    last=$name
    model=$out/$name/model
  done 3< <(rows "$stages")
  begin model "$last" copy
  [ ! -e "$out/model" ] || return 0
  rm -rf "$out/model.partial"
  cp -r "$model" "$out/model.partial"
  mv "$out/model.partial" "$out/model"
}

# In braces, so that bash has read everything before it starts: the file may change meanwhile.
{
  factor=''
  make_data
  train_stages
  say "done: $out/model. Next: $bin/parrot-server --model $out/model"
  exit
}
