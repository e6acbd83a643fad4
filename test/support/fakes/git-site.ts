import { once } from "node:events";
import { readFileSync, statSync } from "node:fs";
import { createServer } from "node:http";
import { join, normalize } from "node:path";

export interface GitSite extends AsyncDisposable {
  readonly host: string;
  /** The credentials of the request, as `user:password`; null without any. */
  readonly logins: readonly (string | null)[];
}

interface Site {
  /** The directory that it serves; a bare repository in it needs `git update-server-info`. */
  readonly dir: string;
  readonly password: string;
  /** Where it redirects every request. */
  readonly elsewhere?: string;
}

/** A site that serves repositories over http to clients with the password. */
export async function gitSite({ dir, password, elsewhere }: Site): Promise<GitSite> {
  const logins: (string | null)[] = [];
  const server = createServer((request, response) => {
    const { pathname } = new URL(request.url ?? "/", "http://x");
    const basic = /^Basic (.+)$/.exec(request.headers.authorization ?? "")?.[1];
    const login = basic === undefined ? null : Buffer.from(basic, "base64").toString();
    logins.push(login);
    if (elsewhere !== undefined) {
      response.writeHead(302, { location: `${elsewhere}${request.url}` }).end();
    } else if (login?.endsWith(`:${password}`) !== true) {
      response.writeHead(401, { "www-authenticate": 'Basic realm="x"' }).end();
    } else {
      const file = join(dir, normalize(pathname));
      const found = statSync(file, { throwIfNoEntry: false })?.isFile() === true;
      response.writeHead(found ? 200 : 404).end(found ? readFileSync(file) : "");
    }
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  return {
    host: `127.0.0.1:${port}`,
    logins,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
}
