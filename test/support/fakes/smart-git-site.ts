import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";

export interface SmartGitSite extends AsyncDisposable {
  readonly host: string;
  /** The credentials of the requests, as `user:password`; null without any. */
  readonly logins: readonly (string | null)[];
  /** From now on, a request to this service is carried out and its connection is closed. */
  dropAnswers(service: "git-receive-pack"): void;
}

interface Site {
  /** The directory with the bare repositories. */
  readonly dir: string;
  readonly password: string;
}

/** A site that serves repositories by `git http-backend` to clients with the password. */
export async function smartGitSite({ dir, password }: Site): Promise<SmartGitSite> {
  const logins: (string | null)[] = [];
  let dropped: string | null = null;
  const server = createServer((request, response) => {
    const basic = /^Basic (.+)$/.exec(request.headers.authorization ?? "")?.[1];
    const login = basic === undefined ? null : Buffer.from(basic, "base64").toString();
    logins.push(login);
    if (login?.endsWith(`:${password}`) !== true) {
      response.writeHead(401, { "www-authenticate": 'Basic realm="x"' }).end();
      return;
    }
    const isDropped = dropped !== null && request.url?.endsWith(`/${dropped}`) === true;
    void serve(dir, request).then((answer) => {
      if (isDropped) response.destroy();
      else send(answer, response);
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  return {
    host: `127.0.0.1:${port}`,
    logins,
    dropAnswers(service) {
      dropped = service;
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
}

async function serve(dir: string, request: IncomingMessage): Promise<Buffer> {
  const { pathname, search } = new URL(request.url ?? "/", "http://x");
  const encoding = request.headers["content-encoding"];
  const protocol = request.headers["git-protocol"];
  const child = spawn("git", ["http-backend"], {
    env: {
      PATH: process.env["PATH"],
      GIT_PROJECT_ROOT: dir,
      GIT_HTTP_EXPORT_ALL: "1",
      GIT_CONFIG_NOSYSTEM: "1",
      HOME: dir,
      REMOTE_USER: "ada",
      REQUEST_METHOD: request.method,
      PATH_INFO: pathname,
      QUERY_STRING: search.slice(1),
      CONTENT_TYPE: request.headers["content-type"] ?? "",
      ...(encoding !== undefined && { HTTP_CONTENT_ENCODING: encoding }),
      ...(typeof protocol === "string" && { GIT_PROTOCOL: protocol }),
    },
    stdio: ["pipe", "pipe", "ignore"],
  });
  // The backend may exit before it has read the whole request.
  child.stdin.on("error", () => {});
  request.pipe(child.stdin);
  const chunks: Buffer[] = [];
  for await (const chunk of child.stdout) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/** The backend writes headers of CGI in front of the body. */
function send(answer: Buffer, response: ServerResponse): void {
  const end = answer.indexOf("\r\n\r\n");
  const lines = answer.subarray(0, Math.max(end, 0)).toString("latin1").split("\r\n");
  for (const line of lines) {
    const [name = "", value = ""] = line.split(/:\s*/, 2);
    if (name.toLowerCase() === "status") response.statusCode = Number.parseInt(value, 10);
    else if (name !== "") response.setHeader(name, value);
  }
  response.end(answer.subarray(end + 4));
}
