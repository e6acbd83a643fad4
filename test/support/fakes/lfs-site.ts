import { createHash } from "node:crypto";
import { once } from "node:events";
import { createServer, type IncomingMessage } from "node:http";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";

export interface LfsSite extends AsyncDisposable {
  readonly host: string;
  /** The contents, by oid. */
  readonly contents: Map<string, Buffer>;
  /** Contents whose download has no end, by oid. */
  readonly endless: Set<string>;
  /** The credential of each call of the API, as `user:password`; null without any. */
  readonly logins: readonly (string | null)[];
  /** The Authorization of each call of the storage. */
  readonly transfers: readonly (string | undefined)[];
  /** Answers of the next calls: of the API or the storage, a status and a message. */
  readonly refusals: { readonly of: "api" | "storage"; status: number; message: string }[];
}

/** What the storage asks for; it is another one than that of the API. */
const pass = "RemoteAuth storage-pass";
const json = { "content-type": "application/vnd.git-lfs+json" };

/**
 * The API and the storage of git LFS over http, with a password.
 * https://github.com/git-lfs/git-lfs/blob/main/docs/api/batch.md
 */
export async function lfsSite({ password }: { readonly password: string }): Promise<LfsSite> {
  const contents = new Map<string, Buffer>();
  const endless = new Set<string>();
  const logins: (string | null)[] = [];
  const transfers: (string | undefined)[] = [];
  const refusals: LfsSite["refusals"] = [];
  let host = "";
  const refusalOf = (of: "api" | "storage") => {
    const at = refusals.findIndex((one) => one.of === of);
    return at === -1 ? null : (refusals.splice(at, 1)[0] ?? null);
  };
  const batch = (text: string) => {
    const { operation, objects } = JSON.parse(text) as {
      operation: "download" | "upload";
      objects: readonly { oid: string; size: number }[];
    };
    return objects.map(({ oid, size }) => {
      const isHere = contents.has(oid) || endless.has(oid);
      if (operation === "upload" && isHere) return { oid, size };
      if (operation === "download" && !isHere)
        return { oid, size, error: { code: 404, message: "Object does not exist" } };
      const action = { href: `http://${host}/storage/${oid}`, header: { Authorization: pass } };
      return { oid, size, authenticated: true, actions: { [operation]: action } };
    });
  };
  const server = createServer(async (request, response) => {
    const body = await bodyOf(request);
    const [, kind, oid = ""] = (request.url ?? "").split("/");
    const of = kind === "storage" ? "storage" : "api";
    const { authorization } = request.headers;
    if (of === "storage") transfers.push(authorization);
    else logins.push(loginOf(authorization));
    const isKnown =
      of === "storage" ? authorization === pass : logins.at(-1)?.endsWith(`:${password}`);
    if (isKnown !== true) {
      const ask = { "www-authenticate": 'Basic realm="x"', "lfs-authenticate": 'Basic realm="x"' };
      response.writeHead(401, { ...json, ...ask }).end('{"message":"Credentials needed"}');
      return;
    }
    const refusal = refusalOf(of);
    if (refusal !== null) {
      response.writeHead(refusal.status, json).end(JSON.stringify({ message: refusal.message }));
    } else if (of === "storage" && request.method === "PUT") {
      const isSame = createHash("sha256").update(body).digest("hex") === oid;
      if (isSame) contents.set(oid, body);
      response.writeHead(isSame ? 200 : 400).end();
    } else if (of === "storage" && endless.has(oid)) {
      response.writeHead(200);
      await pipeline(Readable.from(withoutEnd()), response).catch(() => {});
    } else if (of === "storage") {
      response.writeHead(200).end(contents.get(oid));
    } else if (request.url?.endsWith("/info/lfs/objects/batch")) {
      const reply = { transfer: "basic", objects: batch(body.toString()) };
      response.writeHead(200, json).end(JSON.stringify(reply));
    } else response.writeHead(404, json).end('{"message":"Not found"}');
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  host = `127.0.0.1:${typeof address === "object" && address !== null ? address.port : 0}`;
  return {
    ...{ host, contents, endless, logins, transfers, refusals },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
}

function* withoutEnd() {
  for (;;) yield Buffer.alloc(64 * 1024);
}

async function bodyOf(request: IncomingMessage): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of request) parts.push(part as Buffer);
  return Buffer.concat(parts);
}

function loginOf(authorization: string | undefined): string | null {
  const basic = /^Basic (.+)$/.exec(authorization ?? "")?.[1];
  return basic === undefined ? null : Buffer.from(basic, "base64").toString();
}
