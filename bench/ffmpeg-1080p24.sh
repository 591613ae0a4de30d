#!/usr/bin/env bash
# The command Reelmill is compared with: one ffmpeg process, the default ladder of a 1080p film of 24 frames a second,
# with the same presets, references, B-frames, GOPs, scaler, rate caps, levels, sound and outputs (CMAF segments of
# 4 s under HLS and DASH).
#
#   ffmpeg-1080p24.sh FFMPEG SOURCE OUT_DIR THREADS [PRESET]
#     THREADS  default  ffmpeg chooses, as most people run it
#              one      one thread an encoder
#              small    one thread for rungs below 720 lines
#     PRESET   an x264 preset for all rungs; without it the ladder's own (medium)
set -euo pipefail
ffmpeg=$1 source=$2 out=$3 threads=$4 preset=${5:-medium}
mkdir -p "$out"

# width height maxrate(kbit/s) level CRF
rungs=("1920 1080 6000 4.0 23" "1280 720 3200 3.1 22.5" "960 540 1900 3.1 22" "640 360 800 3.0 21" "426 240 350 2.1 21")
filter="[0:v:0]split=${#rungs[@]}"
for i in "${!rungs[@]}"; do filter+="[s$i]"; done
args=()
for i in "${!rungs[@]}"; do
  read -r width height rate level crf <<<"${rungs[$i]}"
  filter+=";[s$i]scale=w=$width:h=$height:flags=bicubic,format=yuv420p,setsar=1[v$i]"
  args+=(-map "[v$i]" "-maxrate:v:$i" "${rate}k" "-bufsize:v:$i" "$((rate * 3 / 2))k" "-level:v:$i" "$level" "-crf:v:$i" "$crf")
  case $threads in
    one) args+=("-threads:v:$i" 1) ;;
    small) [ "$height" -ge 720 ] || args+=("-threads:v:$i" 1) ;;
  esac
done
exec "$ffmpeg" -nostdin -v error -y -i "$source" -filter_complex "$filter" "${args[@]}" \
  -c:v libx264 -preset "$preset" -profile:v high -refs 3 -bf 3 -g 48 -flags:v +cgop -a53cc 0 -forced-idr 1 \
  -force_key_frames "expr:gte(t,n_forced*2)" -fps_mode passthrough \
  -color_primaries bt709 -color_trc bt709 -colorspace bt709 -color_range tv \
  -x264-params "cabac=1:8x8dct=1:open-gop=0:scenecut=0:b-pyramid=normal:weightp=1:aq-mode=1" \
  -map 0:a:0? -c:a aac -b:a 128k -ac 2 -ar 48000 \
  -f dash -seg_duration 4 -use_template 1 -use_timeline 1 -hls_playlist 1 \
  -init_seg_name 'v$RepresentationID$-init.mp4' -media_seg_name 'v$RepresentationID$-$Number%06d$.m4s' \
  "$out/manifest.mpd"
