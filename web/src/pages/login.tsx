import { ActionGroup, Alert, Button, Card, CardBody, CardTitle, ClipboardCopy, Form, FormGroup, FormHelperText, HelperText, HelperTextItem, TextInput } from '@patternfly/react-core';
import { useEffect, useRef, useState } from 'react';

import { Failure } from '../kubernetes/failure';
import { useTitle } from '../parts/title';
import { keyInFragment, toldSecret } from '../session/link';
import { logIn } from '../session/session';
import { t } from '../words/words';

/** Where a person says who they are: by a one-time link, or with a token. */
export function LoginPage(props: { expired: boolean }): React.JSX.Element {
  useTitle(t('Log in'));
  const [token, setToken] = useState('');
  const [refusal, setRefusal] = useState<string>();
  const [isAsking, setAsking] = useState(false);
  const tried = useRef(false);
  const [hadSecret] = useState(() => toldSecret(window.location.hash));

  async function tryWith(proof: { link: string } | { token: string }): Promise<void> {
    setAsking(true);
    setRefusal(undefined);
    try {
      await logIn(proof);
    } catch (thrown) {
      setRefusal(refusalOf(Failure.of(thrown), 'link' in proof));
      setAsking(false);
    }
  }

  useEffect(() => {
    const key = keyInFragment(window.location.hash);
    if (key === undefined || tried.current) return;
    tried.current = true;
    // The key works once; it must not stay in the history.
    window.history.replaceState(window.history.state, '', window.location.pathname + window.location.search);
    void tryWith({ link: key });
  }, []);

  return (
    <main className="av-login">
      <Card isLarge>
        <CardTitle component="h1">
          <span className="av-brand">
            <img src="/console/assets/mark.svg" alt="" /> {t('Log in to anyvirt')}
          </span>
        </CardTitle>
        <CardBody className="av-stack">
          {props.expired && refusal === undefined && (
            <Alert variant="info" isInline title={t('Your session has ended. Log in again to go on where you were.')}>
              {t('It was not used for twelve hours, a day has passed since the login, or somebody has ended it (in the settings, or with anyvirt web --revoke).')}
            </Alert>
          )}
          {hadSecret && refusal === undefined && (
            <Alert variant="warning" isInline title={t('A token or key in the address is never accepted.')}>
              {t('Addresses are kept in histories and logs: whoever reads those has it now, so take another if you can. Put a token into the field below; the key of a one-time link stands after its #.')}
            </Alert>
          )}
          {refusal !== undefined && <Alert variant="danger" isInline title={refusal} />}
          <p>{t('The easiest way is a one-time link. On the machine where anyvirt runs, type:')}</p>
          <ClipboardCopy isReadOnly isCode hoverTip={t('Copy')} clickTip={t('Copied')} textAriaLabel={t('Command that prints a one-time link')}>
            anyvirt web
          </ClipboardCopy>
          <Form
            onSubmit={(event) => {
              event.preventDefault();
              void tryWith({ token: token.trim() });
            }}
          >
            <FormGroup label={t('Or a token')} fieldId="token">
              <TextInput
                id="token"
                type="password"
                autoComplete="off"
                value={token}
                onChange={(_event, value) => setToken(value)}
              />
              <FormHelperText>
                <HelperText>
                  <HelperTextItem>
                    {t('A bearer token of a ServiceAccount, or the one in the data directory. This browser does not keep it.')}
                  </HelperTextItem>
                </HelperText>
              </FormHelperText>
            </FormGroup>
            <ActionGroup>
              <Button type="submit" isDisabled={isAsking || token.trim() === ''} isLoading={isAsking}>
                {t('Log in')}
              </Button>
            </ActionGroup>
          </Form>
        </CardBody>
      </Card>
    </main>
  );
}

function refusalOf(failure: Failure, byLink: boolean): string {
  if (failure.code === 429) return failure.message;
  if (failure.isLoggedOut) {
    return byLink
      ? t('This link was used already, or is too old. Type "anyvirt web" for a new one.')
      : t('This token is not accepted.');
  }
  return failure.message;
}
