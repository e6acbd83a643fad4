// What agents of the kinds that run in symphony's own sandbox read of a developer's home. codex, which has its own, is in
// test/integration/codex-logins.test.ts.

import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { dirname, join } from "node:path";
import { describe, test } from "node:test";
import {
  canary,
  connectingLine,
  plantedHome,
  readingLine,
} from "../support/makers/planted-logins.ts";
import { confinedKinds } from "../support/worlds/confined-kinds.ts";

const options = { env: {}, passthrough: [], hasProvider: true };

describe("THREAT-1: the logins of a developer's home", () => {
  for (const kind of ["openai", "command", "acp"] as const) {
    test(`are not readable for ${kind} at level safe, no socket next to toolchains answers, and toolchains are readable`, async () => {
      await using stack = new AsyncDisposableStack();
      const agent = stack.use(await confinedKinds[kind](options));
      const apart = await mkdtemp(join(process.cwd(), ".neighbour-"));
      try {
        const { logins, toolchains } = await plantedHome(agent.home, apart);
        assert.ok(logins.length > 70);
        // Such as that of `pnpm server`, in a directory that is shown.
        const socket = join(agent.home, ".local/share/pnpm/server/socket");
        await mkdir(dirname(socket), { recursive: true });
        const server = createServer((client) => client.end("reached"));
        stack.defer(() => void server.close());
        await once(server.listen(socket), "listening");
        const [asked = "", read = "", shown = "", found = ""] = await agent.run(
          [
            connectingLine(socket),
            readingLine(logins),
            readingLine(toolchains),
            `echo FOUND $(grep -rl '${canary}' "$HOME" '${apart}' 2>/dev/null | wc -l)`,
          ],
          { level: "safe" },
        );
        assert.match(read, /^looked$/m);
        assert.doesNotMatch(read, /READ/);
        for (const file of toolchains) assert.ok(shown.includes(`READ ${file}`), file);
        assert.match(asked, /no way: Connection refused/);
        assert.match(found, new RegExp(`^FOUND ${toolchains.length}$`, "m"));
      } finally {
        await rm(apart, { recursive: true, force: true });
      }
    });

    test(`are not readable for ${kind} although agent.readable names the whole home`, async () => {
      await using agent = await confinedKinds[kind](options);
      const apart = await mkdtemp(join(process.cwd(), ".neighbour-"));
      try {
        const { logins } = await plantedHome(agent.home, apart);
        // What no list can know: a text of the person, and what a project keeps next to its sources.
        const ofProject = /neighbour\/\.env|\/\.npmrc$|notes\.txt$|far\/\.env/;
        const known = logins.filter((file) => !ofProject.test(file));
        const [read = "", others = ""] = await agent.run(
          [readingLine(known), readingLine([join(agent.home, "notes.txt")])],
          { level: "safe", readable: [agent.home, apart] },
        );
        assert.match(read, /^looked$/m);
        assert.doesNotMatch(read, /READ/);
        assert.match(others, /^READ .*notes\.txt$/m);
      } finally {
        await rm(apart, { recursive: true, force: true });
      }
    });
  }
});
