import { plainLine, relative } from "./output.ts";
import { row } from "./table.ts";

/** Pauses all dispatch of the running server. */
export const pauseCommand = row({
  examples: ["symphony pause", 'symphony pause --reason "release day"'],
  options: [
    { name: "reason", value: "text", summary: "shown wherever the pause is, and in the audit log" },
  ],
  async call({ reason }, context) {
    const client = await context.client();
    return client.system.pause({ body: reason === undefined ? {} : { reason } });
  },
  print({ reason }, { note }) {
    const why = reason === null ? "" : `: ${plainLine(reason)}`;
    note(`Dispatch is paused${why}. Running agents continue; symphony resume ends it`);
  },
});

/** Ends the pause. */
export const resumeCommand = row({
  examples: ["symphony resume"],
  call: async (_, context) => (await context.client()).system.resume({ body: {} }),
  print({ was_paused: wasPaused, since }, { note }) {
    if (!wasPaused || since === null) return note("Dispatch was not paused");
    note(`Dispatch is resumed; it was paused ${relative(since, Date.now())}`);
  },
});
