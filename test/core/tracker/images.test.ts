import assert from "node:assert/strict";
import { createServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import { imagesOf } from "../../../src/core/tracker/images.ts";

const png = Buffer.from("89504e470d0a1a0a0000000d49484452", "hex");
const jpeg = Buffer.from("ffd8ffe000104a46494600", "hex");
const webp = Buffer.from("RIFF\x1a\x00\x00\x00WEBPVP8 ", "latin1");
const mebibyte = 1024 * 1024;

type Files = Readonly<Record<string, Buffer | ((response: ServerResponse) => void)>>;

/** The place of a tracker's files, and what was asked there. */
async function uploads(files: Files) {
  const asked: string[] = [];
  const server = createServer((request, response) => {
    asked.push(`${request.method} ${request.url} ${request.headers.authorization ?? ""}`);
    const file = files[request.url ?? ""];
    if (typeof file === "function") file(response);
    else if (file) response.end(file);
    else response.writeHead(404).end();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    ...{ asked, origin },
    async read(description: string | null) {
      const place = { origin, authorization: () => "key" };
      const found = await imagesOf({ description }, place, new AbortController().signal);
      const types = found.images.map(({ mediaType }) => mediaType);
      return { ...found, types };
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

test("images that a description shows are read with the tracker's credential, each once, whatever their names say", async () => {
  await using at = await uploads({ "/a": png, "/b.png": jpeg, "/c": webp });
  const { origin } = at;
  const text = `See ![one](${origin}/a) and ![](<${origin}/b.png> "t"), ![ ]( ${origin}/c ), again ![x](${origin}/a).`;
  const { types, images, left } = await at.read(text);
  assert.deepEqual(types, ["image/png", "image/jpeg", "image/webp"]);
  assert.equal(images[0]?.base64, png.toString("base64"));
  assert.deepEqual([left, at.asked], [[], ["GET /a key", "GET /b.png key", "GET /c key"]]);
});

test("no other host is asked, whatever a hostile description says", async () => {
  await using at = await uploads({ "/a": png });
  await using evil = await uploads({ "/a": png });
  const host = at.origin.slice("http://".length);
  const { images, left } = await at.read(
    [
      `![x](${evil.origin}/a) ![x](http://u:p@${host}/a) ![x](http://${host}.evil.test/a)`,
      `![x](http://${host}@${evil.origin.slice("http://".length)}/a) ![x](file:///etc/passwd)`,
      `![x](https://${host}/a) ![x](//${host}/a) [x](${at.origin}/a) ![x](http://[)`,
      `![${"x".repeat(600)}](${at.origin}/a)`,
    ].join("\n"),
  );
  assert.deepEqual([images, left, at.asked, evil.asked], [[], [], [], []]);
  assert.deepEqual((await at.read(null)).images, []);
});

test("what is no image, too large, elsewhere or missing is left out with its reason, and the others are kept", async () => {
  await using elsewhere = await uploads({ "/a": png });
  const moved = { location: `${elsewhere.origin}/a` };
  await using at = await uploads({
    "/html": Buffer.from("<svg onload=alert(1)>"),
    "/gif": Buffer.from("GIF89a"),
    "/large": Buffer.concat([png, Buffer.alloc(5 * mebibyte)]),
    "/moved": (response) => response.writeHead(302, moved).end(),
    "/good": png,
  });
  const names = ["html", "gif", "large", "moved", "gone", "good"];
  const text = names.map((name) => `![x](${at.origin}/${name})`).join(" ");
  const { types, left } = await at.read(text);
  assert.deepEqual(types, ["image/png"]);
  const reasons = [/PNG, JPEG or WebP/, /PNG, JPEG/, /larger than 5 MiB/, /\/moved/, /status 404/];
  assert.equal(left.length, reasons.length);
  for (const [at, reason] of reasons.entries()) assert.match(left[at] ?? "", reason);
  assert.deepEqual(elsewhere.asked, [], "a redirect is not followed");
});

test("at most ten images and 20 MiB of an issue are used", async () => {
  const paths = Array.from({ length: 12 }, (_, at) => `/${at}`);
  await using many = await uploads(Object.fromEntries(paths.map((path) => [path, png])));
  const shown = (origin: string) => paths.map((path) => `![x](${origin}${path})`).join(" ");
  const few = await many.read(shown(many.origin));
  assert.deepEqual([few.images.length, few.left.length, many.asked.length], [10, 1, 10]);
  const large = Buffer.concat([png, Buffer.alloc(4 * mebibyte)]);
  await using heavy = await uploads(Object.fromEntries(paths.map((path) => [path, large])));
  assert.equal((await heavy.read(shown(heavy.origin))).images.length, 4);
});
