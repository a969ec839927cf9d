import { EditorState } from '@codemirror/state';
import { EditorView } from '@codemirror/view';
import { useEffect, useRef } from 'react';

import { t } from '../words/words';
import { pane, writable } from './code-mirror';

/** A YAML text that somebody else writes too: it becomes `text.content` whenever `text` is another one. Whoever shows it hears Ctrl+Enter. */
export default function LiveYaml(props: { text: { content: string }; label: string; onChange: (content: string) => void }): React.JSX.Element {
  const { text, label } = props;
  const place = useRef<HTMLDivElement>(null);
  const view = useRef<EditorView>(undefined);
  // What is put here from outside is not told outside again.
  const isPut = useRef(false);
  const latest = useRef(props);
  latest.current = props;
  useEffect(() => {
    if (place.current === null) return undefined;
    const shown = new EditorView({
      parent: place.current,
      state: EditorState.create({
        doc: latest.current.text.content,
        extensions: [pane(label), writable((content) => { if (!isPut.current) latest.current.onChange(content); }, () => undefined)],
      }),
    });
    view.current = shown;
    return () => shown.destroy();
  }, [label]);
  useEffect(() => {
    const shown = view.current;
    if (shown === undefined || shown.state.doc.toString() === text.content) return;
    isPut.current = true;
    shown.dispatch({ changes: { from: 0, to: shown.state.doc.length, insert: text.content } });
    isPut.current = false;
  }, [text]);
  return (
    <div>
      <div className="av-editor" ref={place} data-takes-keys="" data-editor="yaml" />
      <p className="av-subtle av-small">{t('What is typed here stands in the form, and the other way round. Esc, then Tab leaves the editor.')}</p>
    </div>
  );
}
