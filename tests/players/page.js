// In the browser: one adapter a player, and the two scenarios. Everything waits for events with a deadline.
'use strict';

const video = document.getElementById('video');
const seen = { errors: [], heights: [], seeks: [], ended: false };
const fail = (text) => seen.errors.push(text);
// True from a switch or a seek until pictures come again.
let acting = false;
video.addEventListener('error', () => fail(`media error ${video.error?.code}: ${video.error?.message}`));

// What each track has in its own buffer: the element's `buffered` is only what both have.
const tracks = {};
const { addSourceBuffer } = MediaSource.prototype;
MediaSource.prototype.addSourceBuffer = function add(type) {
  const buffer = addSourceBuffer.call(this, type);
  tracks[type.split('/')[0]] = buffer;
  return buffer;
};
// The media time of the very first picture.
video.requestVideoFrameCallback((_, { mediaTime }) => { seen.first = mediaTime; });

/** Resolves when `holds()` is true; rejects after `ms`. Asked at every frame of the page. */
function until(what, ms, holds) {
  const end = performance.now() + ms;
  return new Promise((resolve, reject) => {
    const ask = () => {
      if (holds()) resolve();
      else if (performance.now() > end) reject(new Error(`${what}: not within ${ms} ms, at ${video.currentTime}`));
      else requestAnimationFrame(ask);
    };
    ask();
  });
}

/** Each adapter: load(url), rungs() as heights, choose(height). Automatic switching is off. */
const adapters = {
  hlsjs() {
    const hls = new Hls({ maxBufferLength: 120, startLevel: 0 });
    hls.on(Hls.Events.ERROR, (_, data) => {
      // A switch or a seek makes hls.js drop the requests it no longer wants (StreamController.abortCurrentFrag and
      // onMediaSeeking), and it reports each as an error that is not fatal. At any other time it would be a fault.
      if (acting && !data.fatal && data.details === Hls.ErrorDetails.INTERNAL_ABORTED) return;
      fail(`hls.js ${data.fatal ? 'fatal ' : ''}${data.type} ${data.details} ${data.reason ?? ''}`);
    });
    return {
      version: Hls.version,
      async load(url) {
        const parsed = new Promise((done) => hls.on(Hls.Events.MANIFEST_PARSED, done));
        hls.attachMedia(video);
        hls.loadSource(url);
        await parsed;
      },
      rungs: () => hls.levels.map((l) => l.height),
      choose(height) { hls.currentLevel = hls.levels.findIndex((l) => l.height === height); },
    };
  },
  dashjs() {
    const dash = dashjs.MediaPlayer().create();
    dash.updateSettings({
      debug: { logLevel: 1 },
      streaming: {
        abr: { autoSwitchBitrate: { video: false, audio: false } },
        buffer: { fastSwitchEnabled: true, bufferTimeAtTopQuality: 120, bufferTimeDefault: 120 },
      },
    });
    const events = dashjs.MediaPlayer.events;
    dash.on(events.ERROR, (e) => fail(`dash.js ${e.error?.code ?? ''} ${e.error?.message ?? ''}`));
    dash.on(events.PLAYBACK_ERROR, (e) => fail(`dash.js playback ${JSON.stringify(e.error)}`));
    // A timer of dash.js declares the end 0 to 200 ms after the clock has reached it; where the browser has not drained
    // its decoders by then, dash.js pauses it and the element never ends (Dash-Industry-Forum/dash.js#2622, described in
    // bbc/dash.js#93; no setting turns it off). Let go on, the element ends by itself, or the test fails.
    dash.on(events.PLAYBACK_ENDED, () => queueMicrotask(() => { if (!video.ended) video.play(); }));
    dash.on('gapCausedInternalSeek', (e) => fail(`dash.js jumped over a gap of ${e.duration} s`));
    const rungs = () => dash.getRepresentationsByType('video');
    return {
      version: dash.getVersion(),
      async load(url) {
        const ready = new Promise((done) => dash.on(events.STREAM_INITIALIZED, done));
        dash.initialize(video, url, false);
        await ready;
      },
      rungs: () => rungs().map((t) => t.height),
      choose(height) { dash.setRepresentationForTypeById('video', rungs().find((t) => t.height === height).id, true); },
    };
  },
  shaka() {
    shaka.polyfill.installAll();
    const player = new shaka.Player();
    player.configure({ abr: { enabled: false }, streaming: { bufferingGoal: 120, gapDetectionThreshold: 0.001 } });
    player.addEventListener('error', (e) => fail(`shaka ${e.detail.code} ${JSON.stringify(e.detail.data)}`));
    player.addEventListener('gapjumped', () => fail(`shaka jumped over a gap at ${video.currentTime}`));
    player.addEventListener('stalldetected', () => fail(`shaka stalled at ${video.currentTime}`));
    return {
      version: shaka.Player.version,
      async load(url) { await player.attach(video); await player.load(url); },
      rungs: () => [...new Set(player.getVariantTracks().map((t) => t.height))],
      choose(height) { player.selectVariantTrack(player.getVariantTracks().find((t) => t.height === height), true); },
    };
  },
};

function ranges({ buffered }) {
  return Array.from({ length: buffered.length }, (_, i) => [buffered.start(i), buffered.end(i)]);
}

/** Are pictures coming? The presentation time goes on by a quarter of a second. */
async function moves(what) {
  const from = video.currentTime;
  await until(what, 15000, () => video.currentTime > from + 0.25 || video.ended);
}

async function seek(to) {
  acting = true;
  video.currentTime = to;
  await until(`the seek to ${to}`, 15000, () => !video.seeking);
}

const scenarios = {
  async play(adapter, rungs) {
    acting = true;
    adapter.choose(Math.max(...rungs));
    await until('the top rung', 20000, () => video.videoHeight === Math.max(...rungs));
    acting = false;
    // The whole film is in the buffer before it plays: what is counted is then one rung alone.
    await until('the whole film in the buffer', 30000, () => video.buffered.length > 0
      && video.buffered.end(video.buffered.length - 1) > video.duration - 0.2);
    video.playbackRate = 2;
    await video.play();
    await until('the end', 60000, () => video.ended);
  },
  async tour(adapter, rungs) {
    await video.play();
    for (const height of [...rungs].sort((a, b) => a - b).concat(Math.max(...rungs))) {
      acting = true;
      adapter.choose(height);
      await until(`rung ${height}`, 20000, () => video.videoHeight === height);
      seen.heights.push(height);
      for (const part of [0.7, 0.15, 0.5]) {
        const to = Math.round(video.duration * part * 1000) / 1000;
        await seek(to);
        await moves(`playing on from ${to} at ${height}`);
        seen.seeks.push({ height, to, at: video.currentTime });
      }
    }
    await seek(video.duration - 1);
    acting = false;
    await until('the end', 20000, () => video.ended);
  },
};

window.run = async (player, manifest, scenario) => {
  try {
    const adapter = adapters[player]();
    seen.version = adapter.version;
    const late = new Promise((_, reject) => setTimeout(() => reject(new Error('the manifest was not loaded within 20 s')), 20000));
    await Promise.race([adapter.load(manifest), late]);
    const rungs = adapter.rungs();
    seen.rungs = rungs;
    await scenarios[scenario](adapter, rungs);
  } catch (error) {
    fail(String(error?.message ?? error));
  }
  const quality = video.getVideoPlaybackQuality();
  return Object.assign(seen, {
    ended: video.ended, duration: video.duration, at: video.currentTime, buffered: ranges(video),
    tracks: Object.fromEntries(Object.entries(tracks).map(([kind, buffer]) => [kind, ranges(buffer)])),
    width: video.videoWidth, height: video.videoHeight,
    frames: quality.totalVideoFrames, corrupted: quality.corruptedVideoFrames ?? 0,
  });
};
