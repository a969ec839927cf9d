import { autocompletion, type Completion, type CompletionContext, type CompletionResult } from '@codemirror/autocomplete';
import { yaml } from '@codemirror/lang-yaml';
import { syntaxHighlighting } from '@codemirror/language';
import { type Diagnostic, linter, lintGutter } from '@codemirror/lint';
import { type Extension, Prec } from '@codemirror/state';
import { EditorView, hoverTooltip, keymap } from '@codemirror/view';
import { classHighlighter } from '@lezer/highlight';
import { basicSetup } from 'codemirror';

import { nonce } from '../consoles/styles-with-nonce';
import { isDark } from '../theme/theme';
import { type Flaw, flawsIn } from './guard';
import { knownKeys } from './known-keys';

/** Milliseconds without typing before the text is checked. */
const CHECK_AFTER = 300;

/** What every YAML pane has: colours by theme, the page's nonce, a name for screen readers. */
export function pane(label: string): Extension {
  return [
    EditorView.cspNonce.of(nonce()),
    basicSetup,
    yaml(),
    syntaxHighlighting(classHighlighter),
    EditorView.theme(
      {
        '&': { backgroundColor: 'var(--pf-t--global--background--color--primary--default)', color: 'var(--pf-t--global--text--color--regular)' },
        '.cm-gutters': { backgroundColor: 'var(--pf-t--global--background--color--secondary--default)', color: 'var(--pf-t--global--text--color--subtle)' },
        '.cm-content': { caretColor: 'var(--pf-t--global--text--color--regular)' },
        '.cm-cursor': { borderLeftColor: 'var(--pf-t--global--text--color--regular)' },
        '.tok-propertyName': { color: 'var(--pf-t--global--text--color--link--default)' },
        '.tok-string, .tok-string2': { color: 'var(--pf-t--global--text--color--status--success--default)' },
        '.tok-comment': { color: 'var(--pf-t--global--text--color--subtle)' },
      },
      { dark: isDark() },
    ),
    EditorView.contentAttributes.of({ 'aria-label': label, tabindex: '0' }),
    EditorView.lineWrapping,
  ];
}

/** What a pane has that is typed into: checks, completion, explanations; `Ctrl+Enter` calls `onReview`. */
export function writable(onChange: (text: string) => void, onReview: () => void): Extension {
  return [
    // Above the editor's own meaning, which is a new line.
    Prec.highest(keymap.of([{ key: 'Ctrl-Enter', mac: 'Cmd-Enter', run: () => { onReview(); return true; } }])),
    linter((view) => flawsIn(view.state.doc.toString()).map(diagnosticOf), { delay: CHECK_AFTER }),
    lintGutter(),
    autocompletion({ override: [complete] }),
    hoverTooltip(explain),
    EditorView.updateListener.of((update) => {
      if (update.docChanged) onChange(update.state.doc.toString());
    }),
  ];
}

function diagnosticOf(flaw: Flaw): Diagnostic {
  const { fix, ...rest } = flaw;
  if (fix === undefined) return rest;
  return {
    ...rest,
    actions: [{ name: fix.label, apply: (view) => view.dispatch({ changes: { from: fix.from, to: fix.to, insert: fix.insert } }) }],
  };
}

function isSwitchMap(text: string): boolean {
  return /^kind:\s*ConfigMap\s*$/m.test(text) && /^\s+name:\s*kubevirt-config\s*$/m.test(text);
}

/** Keys of kubevirt-config, where one is being typed. */
function complete(context: CompletionContext): CompletionResult | null {
  const word = context.matchBefore(/[\w.-]+/);
  const line = context.state.doc.lineAt(context.pos).text;
  if (!isSwitchMap(context.state.doc.toString()) || !/^\s+[\w.-]*$/.test(line)) return null;
  if (word === null && !context.explicit) return null;
  const options: Completion[] = knownKeys().map(({ key, meaning, values }) => ({
    label: key,
    info: meaning,
    type: 'property',
    apply: `${key}: "${values?.[0] ?? ''}"`,
  }));
  return { from: word?.from ?? context.pos, options, validFor: /^[\w.-]*$/ };
}

/** What a known key means, beside the pointer. */
function explain(view: EditorView, position: number): { pos: number; end: number; above: boolean; create: () => { dom: HTMLElement } } | null {
  const line = view.state.doc.lineAt(position);
  const known = isSwitchMap(view.state.doc.toString()) ? knownKeys().find(({ key }) => line.text.trimStart().startsWith(`${key}:`)) : undefined;
  if (known === undefined) return null;
  return {
    pos: line.from,
    end: line.to,
    above: true,
    create: () => {
      const dom = document.createElement('div');
      dom.textContent = known.meaning;
      dom.className = 'av-hover';
      return { dom };
    },
  };
}
