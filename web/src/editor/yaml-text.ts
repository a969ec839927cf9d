import { parseDocument, stringify } from 'yaml';

import type { KubernetesObject } from '../kubernetes/object';

/** An object as YAML, without managed fields, which nobody writes by hand. */
export function toYaml(object: object): string {
  const { metadata, ...rest } = object as KubernetesObject;
  if (metadata === undefined) return stringify(object, { lineWidth: 0 });
  const { managedFields: _, ...shown } = metadata;
  const { apiVersion, kind, ...others } = rest;
  return stringify({ apiVersion, kind, metadata: shown, ...others }, { lineWidth: 0 });
}

/** The object that a YAML text describes, or what is wrong with it. */
export function ofYaml(text: string): { object: KubernetesObject } | { problem: string } {
  const document = parseDocument(text, { uniqueKeys: true });
  const [error] = document.errors;
  if (error !== undefined) return { problem: error.message };
  let value: unknown;
  try {
    value = document.toJS();
  } catch (thrown) {
    // An alias of nothing, or of too much.
    return { problem: thrown instanceof Error ? thrown.message : String(thrown) };
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return { problem: 'the text is no object' };
  const { metadata } = value as Partial<KubernetesObject>;
  if (typeof metadata !== 'object' || typeof metadata?.name !== 'string') return { problem: 'metadata.name is missing' };
  return { object: value as KubernetesObject };
}
