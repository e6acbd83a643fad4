import { type StorageTrouble, unsavedText } from "../model/gates.ts";
import { andThen, type Context, type Decision, decided } from "./decision.ts";
import type { Effect } from "./messages.ts";
import { timePassed } from "./pauses.ts";
import type { State } from "./state.ts";

/**
 * The disk refuses writes, or accepts them again. Running attempts continue, and an operator's stop
 * is carried out; nothing new is started until every write is saved, and then dispatch resumes by
 * itself.
 */
export function storageChanged(
  state: State,
  trouble: StorageTrouble | null,
  context: Context,
): Decision {
  const next = { ...state, storage: trouble };
  if (trouble === null) {
    return andThen(
      decided(next, recovered(context.wall - (state.storage?.sinceWall ?? context.wall))),
      (last) => timePassed(last, context),
    );
  }
  return state.storage === null ? decided(next, failing(trouble)) : decided(next);
}

function failing(trouble: StorageTrouble): Effect {
  const { reason, waiting } = trouble;
  return {
    type: "publish",
    event: {
      type: "storage.error",
      message: `${unsavedText(trouble)}; nothing new is started`,
      data: { reason, waiting },
    },
  };
}

function recovered(tookMs: number): Effect {
  return {
    type: "publish",
    event: {
      type: "storage.recovered",
      message: "everything is saved again",
      data: { took_ms: Math.max(Math.round(tookMs), 0) },
    },
  };
}
