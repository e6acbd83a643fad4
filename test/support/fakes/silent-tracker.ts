import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import type { TestContext } from "node:test";

/** A server that receives requests and never answers, and the `tracker` section of a workflow file for it. */
export async function silentTracker(t: TestContext) {
  const asked = Promise.withResolvers<void>();
  const silent = createServer((socket) => {
    socket.on("error", () => {});
    asked.resolve();
  });
  silent.listen(0, "127.0.0.1");
  await once(silent, "listening");
  t.after(() => silent.close());
  const { port } = silent.address() as AddressInfo;
  const provider = `{ endpoint: "http://127.0.0.1:${port}/graphql", project_slug: x }`;
  return { section: `{ kind: linear, provider: ${provider} }`, asked: asked.promise };
}
