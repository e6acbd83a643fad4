import { parentPort } from "node:worker_threads";
import { messageOf, SymphonyError } from "../model/errors.ts";
import { fill } from "./liquid.ts";
import type { RenderAnswer, RenderJob } from "./render-thread.ts";

parentPort?.on("message", (job: RenderJob) => parentPort?.postMessage(answerTo(job)));
parentPort?.postMessage("ready");

function answerTo({ template, variables }: RenderJob): RenderAnswer {
  try {
    return { text: fill(template, variables) };
  } catch (error) {
    if (!(error instanceof SymphonyError)) {
      return { code: "template_render_error", message: messageOf(error), details: {} };
    }
    const { code, message, details } = error;
    return { code, message, details: { ...details } };
  }
}
