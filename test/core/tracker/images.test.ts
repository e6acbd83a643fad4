import assert from "node:assert/strict";
import { createServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import { githubUploads } from "../../../src/core/tracker/github/uploads.ts";
import { addressesIn, imagesOf } from "../../../src/core/tracker/images.ts";
import type { Uploads } from "../../../src/core/tracker/tracker.ts";

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
    read: (text: string, given: readonly string[] = []) =>
      read(text, { holds: (url) => url.origin === origin, authorization: () => "key" }, given),
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

async function read(text: string, place: Uploads, given: readonly string[] = []) {
  const { signal } = new AbortController();
  const way = { issueId: "i1", given: new Set(given), signal };
  const { images, urls, left } = await imagesOf(addressesIn([text]), place, way);
  const types = images.map(({ mediaType }) => mediaType);
  const reasons = left.map(({ url, why }) => `${url.pathname}: ${why}`);
  return { images, types, names: urls.map(({ pathname }) => pathname), left: reasons };
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
  assert.deepEqual([images, at.asked, evil.asked], [[], [], []]);
  assert.equal(left.length, 2);
  for (const why of left) assert.match(why, /: it was not uploaded to the tracker$/);
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
  const reasons = [
    /PNG, JPEG or WebP/,
    /PNG, JPEG/,
    /larger than 5 MiB/,
    /no place of/,
    /status 404/,
  ];
  assert.equal(left.length, reasons.length);
  for (const [at, reason] of reasons.entries()) assert.match(left[at] ?? "", reason);
  assert.deepEqual(elsewhere.asked, [], "a redirect is not followed");
});

test("at most ten images and 20 MiB of an issue are used", async () => {
  const paths = Array.from({ length: 12 }, (_, at) => `/${at}`);
  await using many = await uploads(Object.fromEntries(paths.map((path) => [path, png])));
  const shown = (origin: string) => paths.map((path) => `![x](${origin}${path})`).join(" ");
  const few = await many.read(shown(many.origin));
  assert.deepEqual([few.images.length, few.left.length, many.asked.length], [10, 2, 10]);
  const given = paths.slice(0, 9).map((path) => `${many.origin}${path}`);
  const later = await many.read(shown(many.origin), given);
  assert.equal(later.images.length, 10, "an image of before counts once");
  const large = Buffer.concat([png, Buffer.alloc(4 * mebibyte)]);
  await using heavy = await uploads(Object.fromEntries(paths.map((path) => [path, large])));
  assert.equal((await heavy.read(shown(heavy.origin))).images.length, 4);
});

test("GitHub: the three forms of an upload's address, in Markdown and in HTML; its token stays there when it leads on", async () => {
  await using store = await uploads({ "/signed?jwt=x": png });
  const id = "0f8fad5b-d9cb-469f-a165-70867728950e";
  const forms = [
    `/user-attachments/assets/${id}`,
    `/acme/app/assets/1188925/${id}`,
    `/storage/user/5/files/${id}`,
  ];
  const leads = (response: ServerResponse) =>
    response.writeHead(302, { location: `${store.origin}/signed?jwt=x` }).end();
  const [first = "", second = "", third = ""] = forms;
  await using at = await uploads({
    [first]: leads,
    [second]: jpeg,
    [third]: png,
    "/acme/app": png,
  });
  const web = at.origin.slice("http://".length);
  const site = githubUploads({ web, api: `${at.origin}/api/v3` }, async (issue) => `t-${issue}`);
  const place = { ...site, leadsTo: (url: URL) => url.origin === store.origin };
  const text = `<img width="12" height="5" alt="a &gt; b" src="${at.origin}${first}" />
    ![x](${at.origin}${second}) <IMG SRC='${at.origin}${third}'> ![no](${at.origin}/acme/app)`;
  const { types, names, left } = await read(text, place);
  assert.deepEqual(types, ["image/png", "image/jpeg", "image/png"]);
  assert.deepEqual(names, forms);
  assert.deepEqual(left, ["/acme/app: it was not uploaded to the tracker"]);
  assert.deepEqual(
    at.asked,
    forms.map((form) => `GET ${form} Bearer t-i1`),
  );
  assert.deepEqual(store.asked, ["GET /signed?jwt=x "], "no token for another host");
  // Elsewhere it does not lead.
  const stopped = await read(text, site);
  assert.match(stopped.left[0] ?? "", /it leads to .*, which is no place of the tracker's uploads/);
  assert.equal(store.asked.length, 1);
});

test("github.com: its own hosts of images, and where its uploads lead", () => {
  const site = { web: "github.com", api: "https://api.github.com" };
  const { holds, leadsTo, authorization } = githubUploads(site, async () => "t");
  const url = (text: string) => new URL(text);
  for (const own of [
    "https://github.com/user-attachments/assets/0f8fad5b-d9cb",
    "https://user-images.githubusercontent.com/1/2.png",
    "https://private-user-images.githubusercontent.com/1/2.png?jwt=x",
  ])
    assert.ok(holds(url(own)), own);
  for (const other of [
    "http://github.com/user-attachments/assets/0f8fad5b-d9cb",
    "https://github.com/user-attachments/assets/../../acme/app",
    "https://github.com/login?to=/user-attachments/assets/a",
    "https://github.com.evil.test/user-attachments/assets/a",
    "https://raw.githubusercontent.com/acme/app/main/a.png",
    "https://camo.githubusercontent.com/aa/bb",
  ])
    assert.ok(!holds(url(other)), other);
  assert.equal(authorization(url("https://user-images.githubusercontent.com/1/2.png"), "i"), null);
  assert.ok(leadsTo?.(url("https://github-production-user-asset-6210df.s3.amazonaws.com/1?X=y")));
  assert.ok(!leadsTo?.(url("http://github-production-user-asset-6210df.s3.amazonaws.com/1")));
  assert.ok(!leadsTo?.(url("https://evil.s3.amazonaws.com/1")));
  assert.ok(!leadsTo?.(url("https://github.com/login?return_to=x")));
});
