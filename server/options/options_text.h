// Texts made from the table of options: help, configuration file, documentation page.
// Thread-safe (pure functions).
#ifndef PARROT_SERVER_OPTIONS_OPTIONS_TEXT_H_
#define PARROT_SERVER_OPTIONS_OPTIONS_TEXT_H_

#include <map>
#include <string>

#include "server/options/options.h"

namespace parrot {

// --help: for a terminal of 100 columns.
std::string HelpText();

// --print-config: every option with its effective value; ReadConfigFile reads it back.
std::string ConfigText(const Options& options);

// --help-markdown: the whole of docs/configuration.md.
std::string ConfigurationPage();

// Option name -> value, as ConfigText shows them. No value is a secret.
std::map<std::string, std::string> OptionValues(const Options& options);

}  // namespace parrot

#endif  // PARROT_SERVER_OPTIONS_OPTIONS_TEXT_H_
