"""What the settings say about where to connect, judged before anything does."""

from gateway.config.reader import Place, sentence_of
from gateway.config.settings import EgressSettings
from gateway.egress.rules import Rules, Target, parse_allow, parse_target
from gateway.errors import ForbiddenAddress


def rules_of(egress: EgressSettings) -> Rules:
    """The rules with the exceptions of `egress.allow`; `ConfigError` for one that cannot be read."""
    for index, text in enumerate(egress.allow):
        try:
            parse_allow(text)
        except ValueError as error:
            raise Place("egress.allow").item(index).error(sentence_of(error)) from None
    return Rules(egress.allow)


def target_at(url: str, place: Place, rules: Rules) -> Target:
    """The URL that stands at `place`; `ConfigError` when it is none or leads where nothing may go."""
    try:
        target = parse_target(url)
        rules.check_target(target)
    except (ValueError, ForbiddenAddress) as error:
        raise place.error(sentence_of(error)) from None
    return target
