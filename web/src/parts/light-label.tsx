/** The colours that labels of tables have. */
export type LabelColor = 'green' | 'blue' | 'grey' | 'yellow' | 'orange' | 'red';

/**
 * A compact label that looks like PatternFly's, without the two hundred custom properties that each of those computes:
 * a table of thousands draws it many times a second while it scrolls.
 */
export function LightLabel(props: { color: LabelColor; isOutlined?: boolean; icon: React.ReactNode; children: React.ReactNode; status?: string }): React.JSX.Element {
  const kind = props.isOutlined === true ? 'av-label av-outlined' : 'av-label';
  return (
    <span className={`${kind} av-${props.color}`} data-status={props.status}>
      {props.icon}
      {props.children}
    </span>
  );
}
