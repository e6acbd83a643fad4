import { pageProject } from "./page.ts";
import { eventually, type Place, Served, symphony } from "./symphony.ts";

/** What an agent leaves: 50,000 lines, a line of 2 MB, 3,000 files, a binary file, a renamed one. */
const program = `
const fs = require("fs");
fs.writeFileSync("a-long.txt", Array.from({ length: 20000 }, (_, at) => at + ": a line of the long file").join("\\n") + "\\n");
fs.writeFileSync("a-binary.bin", Buffer.alloc(100000));
fs.writeFileSync("a-one-line.js", "x".repeat(2 * 1024 * 1024) + "\\n");
fs.writeFileSync("b-lock.json", Array.from({ length: 30000 }, (_, at) => '  "package-' + at + '": "1.0.' + at + '",').join("\\n") + "\\n");
fs.mkdirSync("many");
for (let at = 0; at < 3000; at++) fs.writeFileSync("many/" + String(at).padStart(4, "0") + ".txt", "one line\\n");
fs.renameSync("old-name.txt", "new-name.txt");
`;

/** A server with the issue LOCAL-1, whose workspace holds a diff that no page can show completely. */
export async function hugeDiff() {
  const own = ["git", "-c", "user.name=a", "-c", "user.email=a@a.example"].join(" ");
  const create = `echo old > old-name.txt && git init -q && git add . && ${own} commit -qm base`;
  const write = { do: "edit", path: "make-diff.cjs", content: program } as const;
  const turn = [write, { do: "run", command: "node make-diff.cjs" }, { do: "hang" }] as const;
  const place = await pageProject({ "LOCAL-1": [turn] }, { hooks: { after_create: create } });
  const server = await Served.start(place);
  try {
    await grown(place, server);
  } catch (error) {
    await server.stop();
    throw new Error(server.log, { cause: error });
  }
  return {
    ...{ place, server },
    async [Symbol.asyncDispose]() {
      await server[Symbol.asyncDispose]();
      await place[Symbol.asyncDispose]();
    },
  };
}

async function grown(place: Place, server: Served): Promise<void> {
  const made = await symphony(place, "issue", "create", "--title", "A large change");
  if (made.code !== 0) throw new Error(made.stderr);
  await eventually(
    "everything is written",
    async () => {
      const { totals } = await server.client.git.diff({ params: { id: "LOCAL-1" }, query: {} });
      return totals.files > 3_000;
    },
    120_000,
  );
}
