import { html as tagged } from "htm/preact";
import type { VNode } from "preact";

/** Markup as a tagged template. Every value in it is text or a property: nothing is ever read as markup. */
export const html = tagged as (strings: TemplateStringsArray, ...values: unknown[]) => VNode;
