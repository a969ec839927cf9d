import { EditorState } from '@codemirror/state';
import { EditorView } from '@codemirror/view';
import { useEffect, useRef } from 'react';

import { t } from '../words/words';
import { pane, writable } from './code-mirror';

/** A YAML text to edit. `start` is what it begins with; a new `start` begins anew. */
export function YamlPane(props: { start: string; label: string; onChange: (text: string) => void; onReview: () => void }): React.JSX.Element {
  const { start, label } = props;
  const place = useRef<HTMLDivElement>(null);
  const latest = useRef(props);
  latest.current = props;
  useEffect(() => {
    if (place.current === null) return undefined;
    const view = new EditorView({
      parent: place.current,
      state: EditorState.create({
        doc: start,
        extensions: [pane(label), writable((text) => latest.current.onChange(text), () => latest.current.onReview())],
      }),
    });
    return () => view.destroy();
  }, [start, label]);
  return (
    <div>
      <div className="av-editor" ref={place} data-takes-keys="" data-editor="yaml" />
      <p className="av-subtle av-small">{t('Ctrl+Enter reviews the changes. Esc, then Tab leaves the editor.')}</p>
    </div>
  );
}
