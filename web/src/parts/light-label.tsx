import '@patternfly/react-styles/css/components/Label/label.css';

/** A compact PatternFly label as plain markup: a table of thousands draws it many times a second while it scrolls. */
export function LightLabel(props: { color: string; isOutlined?: boolean; icon: React.ReactNode; children: React.ReactNode; status?: string }): React.JSX.Element {
  const kind = props.isOutlined === true ? 'pf-m-outline ' : '';
  return (
    <span className={`pf-v6-c-label pf-m-compact ${kind}pf-m-${props.color}`} data-status={props.status}>
      <span className="pf-v6-c-label__content">
        <span className="pf-v6-c-label__icon">{props.icon}</span>
        <span className="pf-v6-c-label__text">{props.children}</span>
      </span>
    </span>
  );
}
