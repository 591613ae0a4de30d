// Reads every HLS playlist of a package with hls-parser in strict mode and prints what it made of them as one JSON object.
//
//   node playlists.mjs PACKAGE_DIR
//
// Begins at master.m3u8 and follows every reference. Strict mode refuses what it would else warn of. What a test
// compares with is counted here: playlists by kind, segments of each, errors.
import fs from 'node:fs';
import path from 'node:path';
import * as HLS from 'hls-parser';

HLS.setOptions({ strictMode: true });
const root = process.argv[2];
const seen = { masters: 0, media: {}, iframes: {}, errors: [] };

function parse(name) {
  try {
    return HLS.parse(fs.readFileSync(path.join(root, name), 'utf8'));
  } catch (e) {
    seen.errors.push(`${name}: ${e.message}`);
    return undefined;
  }
}

function media(name, kind) {
  if (seen[kind][name] !== undefined) return;
  const playlist = parse(name);
  if (playlist === undefined) return;
  if (playlist.isMasterPlaylist) seen.errors.push(`${name}: is no media playlist`);
  if (Boolean(playlist.isIFrame) !== (kind === 'iframes')) seen.errors.push(`${name}: is not of its kind`);
  seen[kind][name] = playlist.segments?.length ?? 0;
  for (const { uri } of playlist.segments ?? []) {
    if (!fs.existsSync(path.join(root, path.dirname(name), uri))) seen.errors.push(`${name}: ${uri} is not there`);
  }
}

const master = parse('master.m3u8');
if (master?.isMasterPlaylist) {
  seen.masters = 1;
  for (const variant of master.variants) {
    media(variant.uri, variant.isIFrameOnly ? 'iframes' : 'media');
    for (const rendition of variant.audio) media(rendition.uri, 'media');
  }
}
console.log(JSON.stringify(seen));
