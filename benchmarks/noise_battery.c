/* SmallCrush on the 32-bit words that arrive on standard input. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <testu01/bbattery.h>
#include <testu01/swrite.h>
#include <testu01/unif01.h>

static unsigned int word(void)
{
    static uint32_t buffer[1 << 16];
    static size_t have, next;
    if (next == have) {
        have = fread(buffer, sizeof *buffer, 1 << 16, stdin);
        next = 0;
        if (!have) {
            fputs("the stream ended early\n", stderr);
            exit(1);
        }
    }
    return buffer[next++];
}

int main(void)
{
    unif01_Gen *generator = unif01_CreateExternGenBits("stream", word);
    swrite_Basic = FALSE;
    bbattery_SmallCrush(generator);
    for (int i = 0; i < bbattery_NTests; i++)
        fprintf(stderr, "%-24s %.4f\n", bbattery_TestNames[i], bbattery_pVal[i]);
    unif01_DeleteExternGenBits(generator);
    return 0;
}
