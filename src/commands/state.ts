import { row } from "./table.ts";

/** Prints the snapshot once, or follows it. */
export const stateCommand = row({
  examples: [
    "symphony state",
    "symphony state --watch",
    "symphony state --json | jq '.running[].issue_identifier'",
  ],
  options: [
    {
      name: "watch",
      summary: "keep showing it as it changes; without a terminal, one JSON line per change",
    },
  ],
  stream: ({ watch }, context) =>
    watch ? import("./watch.ts").then(({ watchState }) => watchState(context)) : null,
  call: async (_, context) => (await context.client()).system.state(),
  async print(snapshot, context) {
    const { stateLines } = await import("./snapshot.ts");
    const view = { width: context.width, paint: await context.paint(), nowMs: Date.now() };
    const { head, rows } = stateLines(snapshot, view);
    context.print([...head, ...rows].join("\n"));
  },
});
