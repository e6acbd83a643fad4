import { SymphonyError } from "../core/model/errors.ts";
import { atOption, row } from "./table.ts";

/** Prints the snapshot once, or follows it. */
export const stateCommand = row({
  examples: [
    "symphony state",
    "symphony state --watch",
    "symphony state --at 2h",
    "symphony state --json | jq '.running[].issue_identifier'",
  ],
  options: [
    {
      name: "watch",
      summary: "keep showing it as it changes; without a terminal, one JSON line per change",
    },
    atOption,
  ],
  stream({ watch, at }, context) {
    if (!watch) return null;
    if (at !== undefined) {
      throw new SymphonyError("usage", "--at shows one moment; it cannot be watched");
    }
    return import("./state-watch.ts").then(({ watchState }) => watchState(context));
  },
  call: async ({ at }, context) =>
    (await context.client()).system.state({ query: at === undefined ? {} : { at } }),
  async print(snapshot, context, { at }) {
    const { stateLines } = await import("./snapshot.ts");
    const paint = await context.paint();
    const then = Date.parse(snapshot.generated_at);
    const view = { width: context.width, paint, nowMs: at === undefined ? Date.now() : then };
    const { head, rows } = stateLines(snapshot, view);
    const asOf = `as of ${snapshot.generated_at}, after event ${snapshot.seq}`;
    context.print([...(at === undefined ? [] : [paint.dim(asOf)]), ...head, ...rows].join("\n"));
  },
});
