import { createServer, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";

export interface TokenEndpoint extends AsyncDisposable {
  readonly url: string;
  /** The forms that were posted. */
  readonly asked: Readonly<Record<string, string>>[];
  /** The access token that is valid now. */
  readonly access: string;
  /** The refresh token that is valid now. */
  readonly refresh: string;
  /** Each of the next answers is this status instead. */
  readonly failures: number[];
  /** The next token lives so long; 24 hours. */
  lifeSeconds: number;
}

/**
 * A token endpoint as RFC 6749 has it: a refresh token is valid for one use, and each use gives another. The credentials of
 * the app are `app` and `app-secret`.
 */
export async function startTokenEndpoint(
  onToken: (access: string) => void = () => {},
): Promise<TokenEndpoint> {
  let count = 0;
  const own = {
    asked: [] as Readonly<Record<string, string>>[],
    failures: [] as number[],
    access: "",
    refresh: "refresh-0",
    lifeSeconds: 86_400,
  };
  const answer = (form: Readonly<Record<string, string>>): readonly [number, object] => {
    own.asked.push(form);
    const status = own.failures.shift();
    if (status !== undefined) return [status, { error: "server_error" }];
    const isApp = form["client_id"] === "app" && form["client_secret"] === "app-secret";
    if (!isApp) return [401, { error: "invalid_client" }];
    const isRefresh = form["grant_type"] === "refresh_token";
    if (isRefresh && form["refresh_token"] !== own.refresh) {
      return [400, { error: "invalid_grant", error_description: `not ${own.refresh}` }];
    }
    count += 1;
    own.access = `lin_oauth_access-${count}`;
    if (isRefresh) own.refresh = `refresh-${count}`;
    onToken(own.access);
    const fresh = isRefresh ? { refresh_token: own.refresh } : {};
    return [
      200,
      {
        access_token: own.access,
        token_type: "Bearer",
        expires_in: own.lifeSeconds,
        ...fresh,
      },
    ];
  };
  const server = createServer(async (request, response) => {
    const [status, body] = answer(Object.fromEntries(new URLSearchParams(await text(request))));
    response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  const { port } = server.address() as AddressInfo;
  return Object.assign(own, {
    url: `http://127.0.0.1:${port}/oauth/token`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((done) => server.close(done));
    },
  });
}

async function text(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}
