// Plays a package in headless Chromium with a real player and prints what happened as one JSON object.
//
//   node play.mjs PLAYER PACKAGE_DIR SCENARIO
//     PLAYER    hlsjs | dashjs | shaka
//     SCENARIO  play: from the first to the last frame on the top rung, at twice the speed
//               tour: switch to every rung, and seek to places in every rung
//
// It judges nothing: the test that started it (tests/tests/players.rs) does. CHROMIUM names the browser.
import http from 'node:http';
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';

const here = path.dirname(fileURLToPath(import.meta.url));
const [player, root, scenario] = process.argv.slice(2);
const libraries = {
  hlsjs: 'hls.js/dist/hls.min.js',
  dashjs: 'dashjs/dist/modern/umd/dash.all.min.js',
  shaka: 'shaka-player/dist/shaka-player.compiled.js',
};
const types = {
  '.js': 'text/javascript', '.m3u8': 'application/vnd.apple.mpegurl', '.mpd': 'application/dash+xml',
  '.m4s': 'video/iso.segment', '.mp4': 'video/mp4',
};
const missing = [];

function resolve(url) {
  if (url === '/page.js') return path.join(here, 'page.js');
  if (url === '/player.js') return path.join(here, 'node_modules', libraries[player]);
  return path.join(root, path.normalize(url));
}

const server = http.createServer((request, response) => {
  const url = decodeURIComponent(new URL(request.url, 'http://x').pathname);
  if (url === '/') {
    response.setHeader('content-type', 'text/html');
    response.end('<!doctype html><video id="video" muted></video><script src="/player.js"></script><script src="/page.js"></script>');
    return;
  }
  if (url === '/favicon.ico') { response.writeHead(204).end(); return; }
  const file = resolve(url);
  const stat = fs.statSync(file, { throwIfNoEntry: false });
  if (!stat?.isFile()) { missing.push(url); response.writeHead(404).end(); return; }
  response.setHeader('content-type', types[path.extname(file)] ?? 'application/octet-stream');
  const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '');
  const first = range ? Number(range[1]) : 0;
  const last = range?.[2] ? Math.min(Number(range[2]), stat.size - 1) : stat.size - 1;
  if (range) response.setHeader('content-range', `bytes ${first}-${last}/${stat.size}`);
  response.setHeader('content-length', last - first + 1);
  response.writeHead(range ? 206 : 200);
  fs.createReadStream(file, { start: first, end: last }).pipe(response);
});
await new Promise((done) => server.listen(0, '127.0.0.1', done));
const origin = `http://127.0.0.1:${server.address().port}`;

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-sync',
    '--disable-background-networking', '--disable-component-update', '--autoplay-policy=no-user-gesture-required'],
});
try {
  const page = await browser.newPage();
  const pageErrors = [];
  page.on('pageerror', (error) => pageErrors.push(String(error)));
  await page.goto(origin);
  const manifest = player === 'hlsjs' ? '/master.m3u8' : '/manifest.mpd';
  const seen = await page.evaluate(({ player, manifest, scenario }) => window.run(player, manifest, scenario), { player, manifest, scenario });
  seen.errors.push(...pageErrors, ...missing.map((url) => `404 ${url}`));
  console.log(JSON.stringify(seen));
} finally {
  await browser.close();
  server.close();
}
