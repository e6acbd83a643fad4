import { type AgentImage, imageTypeOf } from "../agent/images.ts";
import { tooLargeIn, wholeBytes } from "../answers.ts";
import { messageOf } from "../model/errors.ts";
import type { Issue } from "../model/issue.ts";
import { outbound } from "../outbound.ts";
import type { Uploads } from "./tracker.ts";

const maxImages = 10;
/** All images of one issue together: they are one message for the agent. */
const maxTotalBytes = 20 * 1024 * 1024;
const timeoutMs = 20_000;
/** An image of Markdown; its address ends at the first space. */
const image = /!\[[^\]\n]{0,500}\]\(\s{0,5}<?(https?:\/\/[^\s)>]{1,2000})/g;

export interface IssueImages {
  readonly images: readonly AgentImage[];
  /** For people: what was left out, and why. */
  readonly left: readonly string[];
}

/**
 * The images that the issue's description shows and that were uploaded to its tracker. The text is of anyone who may write
 * the issue: no other host is asked, a redirect is not followed, and what a file is its first bytes say. Never rejects.
 */
export async function imagesOf(
  { description }: Pick<Issue, "description">,
  { origin, authorization }: Uploads,
  signal: AbortSignal,
): Promise<IssueImages> {
  const own = addressesIn(description ?? "").filter((url) => url.origin === origin);
  const images: AgentImage[] = [];
  const left: string[] = [];
  let total = 0;
  for (const url of own.slice(0, maxImages)) {
    try {
      const bytes = await fetched(url, authorization(), signal);
      const mediaType = imageTypeOf(bytes);
      if (mediaType === null) throw new Error("it is no PNG, JPEG or WebP");
      total += bytes.length;
      if (total > maxTotalBytes) throw new Error("all images together are larger than 20 MiB");
      images.push({ mediaType, base64: bytes.toString("base64") });
    } catch (error) {
      signal.throwIfAborted();
      const why = tooLargeIn(error)?.message ?? messageOf(error);
      left.push(`an image of the issue is left out (${url.pathname.slice(-100)}): ${why}`);
    }
  }
  if (own.length > maxImages) left.push(`only the first ${maxImages} images of the issue are used`);
  return { images, left };
}

/** Each address once; without one that carries a user or does not parse. */
function addressesIn(text: string): readonly URL[] {
  const found = [...text.matchAll(image)].flatMap(([, address = ""]) => URL.parse(address) ?? []);
  const plain = found.filter(({ username, password }) => username === "" && password === "");
  return [...new Map(plain.map((url) => [url.href, url])).values()];
}

async function fetched(url: URL, authorization: string, signal: AbortSignal): Promise<Buffer> {
  const response = await outbound(
    url,
    {
      headers: { authorization },
      redirect: "error",
      signal: AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]),
    },
    "image",
  );
  if (!response.ok) {
    await response.body?.cancel();
    throw new Error(`status ${response.status}`);
  }
  return wholeBytes(response.body, { host: url.host, kind: "image" });
}
