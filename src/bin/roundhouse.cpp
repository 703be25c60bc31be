// The command line, also by the name `rh`.

#include "cli/command.h"

int main(int argc, char** argv) { return rh::cli::run(argc, argv); }
