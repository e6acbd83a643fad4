import { type FakeModel, startFakeModel } from "./fake-model.ts";

/** One request of codex to the model, as the fake received it. */
export interface ModelRequest {
  readonly kind: string | null;
  readonly model: string;
  readonly step: string;
  readonly tools: readonly string[];
  readonly lastUser: string;
  readonly toolOutput?: string;
  readonly body: {
    readonly input: readonly Readonly<Record<string, unknown>>[];
    /** The id of the thread. */
    readonly prompt_cache_key?: string;
  };
}

/** Its base URL ends in `/v1`. */
export interface FakeOpenai extends FakeModel {
  requests(): Promise<ModelRequest[]>;
}

export async function startFakeOpenai(script: unknown): Promise<FakeOpenai> {
  const fake = await startFakeModel("fake-openai", script);
  return { ...fake, requests: () => fake.requests() as Promise<ModelRequest[]> };
}
