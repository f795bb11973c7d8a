// Compares our attachments with those of the published XMTP packages: each side opens what the others sealed, and reads the
// messages that the others wrote. The program that speaks for us is the example `xmtp`. Run by `xmtp.sh`; prints a line for
// each check and `N passed, N failed`.
import { execFileSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import path from "node:path";
import { pathToFileURL } from "node:url";

const [modules, program] = process.argv.slice(2).map((argument) => path.resolve(argument));
const packages = createRequire(path.join(modules, "package.json"));
const load = (name) => import(pathToFileURL(path.join(modules, "node_modules", name)));

const js = await load("@xmtp/content-type-remote-attachment/dist/index.js");
const wasm = await load("@xmtp/wasm-bindings/dist/bindings_wasm.js");
const { EncodedContent } = packages("@xmtp/proto").content;
const protobuf = packages("protobufjs");
wasm.initSync({ module: readFileSync(path.join(modules, "node_modules/@xmtp/wasm-bindings/dist/bindings_wasm_bg.wasm")) });

const URL_OF_PAYLOAD = "https://example.org/payload?key=a%20b";
const SIZES = [0, 1, 100_000, 20_000_000];
const FILENAMES = ["photo.jpg", "Отпуск — été 日本 😀.jpg"];
const MIME_TYPE = "image/jpeg";

const folder = mkdtempSync(path.join(tmpdir(), "xmtp-"));
let passed = 0;
let failed = 0;

try {
  for (const size of SIZES) {
    for (const filename of FILENAMES) {
      await compareAttachments(randomBytes(size), filename, `${size} bytes as ${filename}`);
    }
  }
  await compareRefusals();
  await compareMessages();
  compareSeveral();
  compareTexts();
} finally {
  rmSync(folder, { recursive: true });
}
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed || !passed ? 1 : 0);

async function compareAttachments(data, filename, name) {
  const ours = seal(data, filename);
  check(`${name}: the length is as stated`, ours.payload.length === ours.contentLength);
  check(`${name}: the digest is node's`, ours.contentDigest === createHash("sha256").update(ours.payload).digest("hex"));
  const byJs = await attempt(() => openByJs(ours));
  check(`${name}: xmtp-js opens ours`, byJs && same(byJs.data, data));
  check(`${name}: xmtp-js has our names`, byJs?.filename === filename && byJs?.mimeType === MIME_TYPE);
  const byWasm = await attempt(() => wasm.decryptAttachment(ours.payload, ours));
  check(`${name}: libxmtp opens ours`, byWasm && same(byWasm.content, data));
  check(`${name}: libxmtp has our names`, byWasm?.filename === filename && byWasm?.mimeType === MIME_TYPE);

  const codec = new js.AttachmentCodec();
  const fromJs = await js.RemoteAttachmentCodec.encodeEncrypted({ filename, mimeType: MIME_TYPE, data }, codec);
  const fromWasm = wasm.encryptAttachment({ filename, mimeType: MIME_TYPE, content: data });
  for (const [peer, theirs] of [["xmtp-js", { ...fromJs, contentDigest: fromJs.digest }], ["libxmtp", fromWasm]]) {
    const opened = await attempt(() => open(theirs));
    check(`${name}: we open that of ${peer}`, opened && same(opened.data, data));
    check(`${name}: we have the names of ${peer}`, opened?.filename === filename && opened?.mimeType === MIME_TYPE);
  }
}

async function compareRefusals() {
  const sealed = seal(randomBytes(1000), "photo.jpg");
  const flipped = Buffer.from(sealed.payload);
  flipped[500] ^= 1;
  const spoilt = {
    "another payload": { ...sealed, payload: flipped },
    "another payload with its own digest": {
      ...sealed,
      payload: flipped,
      contentDigest: createHash("sha256").update(flipped).digest("hex"),
    },
    "a payload that is cut off": { ...sealed, payload: sealed.payload.subarray(0, 999) },
    "no payload": { ...sealed, payload: Buffer.alloc(0) },
    "a digest in upper case": { ...sealed, contentDigest: sealed.contentDigest.toUpperCase() },
    "another secret": { ...sealed, secret: randomBytes(32) },
    "a nonce of 13 bytes": { ...sealed, nonce: randomBytes(13) },
  };
  for (const [name, remote] of Object.entries(spoilt)) {
    const byUs = name.includes("nonce") ? undefined : await attempt(() => open(remote));
    check(`${name} is refused by us`, !byUs);
    check(`${name} is refused by xmtp-js`, !(await attempt(() => openByJs(remote))));
    check(`${name} is refused by libxmtp`, !(await attempt(() => wasm.decryptAttachment(remote.payload, remote))));
  }
  check("what was not spoilt is opened", await attempt(() => open(sealed)));
}

async function compareMessages() {
  const data = randomBytes(1000);
  for (const filename of FILENAMES) {
    const sealed = seal(data, filename);
    const ours = EncodedContent.decode(write("remote", sealed));
    const codec = new js.RemoteAttachmentCodec();
    check(`${filename}: our message is of their type`, codec.contentType.sameAs(ours.type) && ours.type.versionMajor === 1);
    check(`${filename}: our message has a fallback`, ours.fallback?.includes(filename));
    check(`${filename}: our message has nothing compressed`, ours.compression === undefined);
    const decoded = await attempt(() => codec.decode(ours));
    check(`${filename}: xmtp-js reads our message`, decoded && sameRemote(decoded, sealed));
    const byJs = decoded && (await attempt(() => openByJs({ ...decoded, payload: sealed.payload })));
    check(`${filename}: xmtp-js opens by our message`, byJs && same(byJs.data, data));
    const byWasm = decoded && (await attempt(() => wasm.decryptAttachment(sealed.payload, decoded)));
    check(`${filename}: libxmtp opens by our message`, byWasm && same(byWasm.content, data));
    // libxmtp writes again what was read, and we read that.
    const again = decoded && read(encoded(wasm.encodeRemoteAttachment(decoded)));
    check(`${filename}: our message survives libxmtp`, again && sameRemote(again[0], sealed));

    for (const scheme of ["https", "https://", "https:"]) {
      const theirs = { ...sealed, scheme };
      const fromJs = read(encoded(codec.encode(theirs)));
      check(`${filename}, ${scheme}: we read the message of xmtp-js`, fromJs && sameRemote(fromJs[0], sealed));
      const fromWasm = read(encoded(wasm.encodeRemoteAttachment(theirs)));
      check(`${filename}, ${scheme}: we read the message of libxmtp`, fromWasm && sameRemote(fromWasm[0], sealed));
    }
    const unknown = { ...sealed, contentLength: undefined };
    const fromJs = read(encoded(codec.encode(unknown)));
    check(`${filename}: we read the message of xmtp-js without a length`, fromJs?.[0].contentLength === undefined);
    const fromWasm = read(encoded(wasm.encodeRemoteAttachment(unknown)));
    check(`${filename}: we read the message of libxmtp without a length`, fromWasm?.[0].contentLength === undefined);
  }
}

function compareSeveral() {
  // The definition of XIP-50, for an implementation of protobuf that shares nothing with ours.
  const schema = protobuf.parse(`
    syntax = "proto3";
    message MultiRemoteAttachment { repeated RemoteAttachmentInfo attachments = 1; }
    message RemoteAttachmentInfo {
      string contentDigest = 1; bytes secret = 2; bytes nonce = 3; bytes salt = 4; string scheme = 5; string url = 6;
      optional uint32 contentLength = 7; optional string filename = 8;
    }`).root.lookupType("MultiRemoteAttachment");
  for (const count of [1, 3]) {
    const sealed = Array.from({ length: count }, (_, n) => seal(randomBytes(100 * n), FILENAMES[n % 2]));
    const fromWasm = wasm.encodeMultiRemoteAttachment({ attachments: sealed });
    check(`${count} in a message: we read that of libxmtp`, sameRemotes(read(encoded(fromWasm)), sealed));

    const ours = EncodedContent.decode(write("multi", ...sealed));
    check(`${count} in a message: ours is of their type`, typeOf(ours) === typeOf(fromWasm));
    const decoded = schema.decode(ours.content).attachments;
    check(`${count} in a message: another reader of protobuf reads ours`, sameRemotes(decoded, sealed));
    const byWasm = decoded.map((remote, n) => wasm.decryptAttachment(sealed[n].payload, { ...remote }).content.length);
    check(`${count} in a message: libxmtp opens by ours`, byWasm.every((length, n) => length === 100 * n));
    const theirs = schema.encode({ attachments: sealed.map((remote) => ({ ...remote, payload: undefined })) }).finish();
    const message = EncodedContent.encode({ type: ours.type, parameters: {}, content: theirs }).finish();
    check(`${count} in a message: we read that of another writer of protobuf`, sameRemotes(read(message), sealed));
  }
}

function compareTexts() {
  for (const text of ["", "hello", "Отпуск — été 日本 😀"]) {
    const ours = EncodedContent.decode(Buffer.from(run("text", text), "hex"));
    const theirs = wasm.encodeText(text);
    check(`“${text}” is what libxmtp writes`, same(ours.content, theirs.content) && typeOf(ours) === typeOf(theirs));
    check(`“${text}” has the encoding of libxmtp`, ours.parameters.encoding === theirs.parameters.encoding);
    check(`“${text}” of libxmtp is read by us`, run("read", encoded(theirs).toString("hex")) === `text\t${text}`);
  }
}

/// Seals with our program, under secrets just drawn.
function seal(data, filename) {
  const [secret, salt, nonce] = [32, 32, 12].map((length) => randomBytes(length));
  writeFileSync(path.join(folder, "plain"), data);
  const target = path.join(folder, "sealed");
  const answer = run("seal", record({ secret, salt, nonce }), filename, MIME_TYPE, path.join(folder, "plain"), target);
  const [contentDigest, length] = answer.split("\t");
  const message = { url: URL_OF_PAYLOAD, contentDigest, scheme: "https", contentLength: Number(length), filename };
  return { ...message, secret, salt, nonce, payload: readFileSync(target) };
}

function open(remote) {
  const [source, target] = ["theirs", "opened"].map((name) => path.join(folder, name));
  writeFileSync(source, remote.payload);
  const [filename, mimeType] = run("open", record(remote), remote.contentDigest, source, target).split("\t");
  return { filename, mimeType, data: readFileSync(target) };
}

/// Opens with xmtp-js, which fetches the payload itself.
async function openByJs(remote) {
  const fetch = globalThis.fetch;
  globalThis.fetch = async () => ({
    ok: true,
    arrayBuffer: async () => new Uint8Array(remote.payload).buffer,
  });
  try {
    return await js.RemoteAttachmentCodec.load(remote, { codecFor: () => new js.AttachmentCodec() });
  } finally {
    globalThis.fetch = fetch;
  }
}

function write(verb, ...remotes) {
  const of = (remote) => [remote.url, remote.contentDigest, record(remote), String(remote.contentLength), remote.filename];
  return Buffer.from(run(verb, ...remotes.flatMap(of)), "hex");
}

function read(message) {
  try {
    return run("read", message.toString("hex")).split("\n").map((line) => {
      const [url, contentDigest, record, length, filename] = line.split("\t");
      const bytes = Buffer.from(record, "hex");
      const [salt, nonce, secret] = [bytes.subarray(0, 32), bytes.subarray(32, 44), bytes.subarray(44)];
      const contentLength = length === "unknown" ? undefined : Number(length);
      return { url, contentDigest, salt, nonce, secret, contentLength, filename };
    });
  } catch (error) {
    console.log(`our program: ${error.message}`);
    return undefined;
  }
}

/// The bytes of a message that a peer gives as an object.
function encoded(content) {
  return Buffer.from(EncodedContent.encode(content).finish());
}

function typeOf(content) {
  const { authorityId, typeId, versionMajor, versionMinor } = content.type;
  return `${authorityId}/${typeId}:${versionMajor}.${versionMinor}`;
}

function record({ salt, nonce, secret }) {
  return Buffer.concat([salt, nonce, secret]).toString("hex");
}

function sameRemote(one, other) {
  const parts = ["secret", "salt", "nonce"].every((part) => same(one[part], other[part]));
  const words = ["url", "contentDigest", "contentLength", "filename"].every((word) => one[word] === other[word]);
  return parts && words;
}

function sameRemotes(some, others) {
  return some?.length === others.length && others.every((other, n) => sameRemote(some[n], other));
}

function same(one, other) {
  return Buffer.from(one).equals(Buffer.from(other));
}

function run(...args) {
  return execFileSync(program, args, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).replace(/\n$/, "");
}

async function attempt(what) {
  try {
    return await what();
  } catch {
    return undefined;
  }
}

function check(name, holds) {
  if (holds) passed += 1;
  else failed += 1;
  console.log(`${holds ? "ok" : "FAILED"} ${name}`);
}
